/** Codes travel between containers whose grids agree, without a change; others are refused. */
import { afterAll, describe, expect, test } from 'vitest';
import { type ContainerName, type Model, open } from '../format/index.ts';
import { llamaSpec, syntheticModel } from '../format/synthetic.fixture.ts';
import { MemoryStore } from '../io/index.ts';
import { parseRecipe, plan, type RecipeInput } from '../recipe/index.ts';
import { convertRecipe } from './convert.ts';
import { run } from './run.ts';
import { verify } from './verify.ts';
import { weightReader } from './weights.ts';

const models: Model[] = [];
afterAll(() => Promise.all(models.map((model) => model.close())));

const nameOf = (container: ContainerName) => (container === 'gguf' ? 'model.gguf' : 'out');

async function made(model: Model, container: ContainerName, recipe: RecipeInput) {
  const store = new MemoryStore(container);
  const planned = await plan(model, recipe, { output: nameOf(container) });
  const report = await run(planned, store, { threads: 2 });
  const written = await open({ store, name: nameOf(container) });
  models.push(written);
  return { written, report, planned };
}

const scheme = {
  kind: 'integer',
  bits: 4,
  symmetric: true,
  granularity: { group: 32 },
  range: 'absmax-half',
  scaleType: 'f16',
} as const;
const asymmetric = { ...scheme, symmetric: false, range: 'minmax' } as const;

async function quantized(container: ContainerName, changes: object = scheme): Promise<Model> {
  const source = await syntheticModel();
  models.push(source);
  return (await made(source, container, parseRecipe({ version: 1, container, scheme: changes }))).written;
}

/** As q4_0, linears only: the embedding stays. */
async function quantizedGguf(): Promise<Model> {
  return quantized('gguf', { kind: 'storage', type: 'q4_0' });
}

async function expectEqual(a: Model, b: Model): Promise<void> {
  const [x, y] = [weightReader(a), weightReader(b)];
  for (const { name } of a.tensors) {
    const bytes = async (read: typeof x) => Buffer.from((await read(name)).slice().buffer);
    expect((await bytes(x)).equals(await bytes(y)), name).toBe(true);
  }
}

describe('int4 in groups of 32', () => {
  test.each<[ContainerName, ContainerName]>([
    ['gptq', 'compressed-tensors'],
    ['gptq', 'fewbits'],
    ['gptq', 'gguf'],
    ['gptq', 'gptq'],
    ['compressed-tensors', 'gptq'],
    ['compressed-tensors', 'fewbits'],
    ['compressed-tensors', 'gguf'],
    ['fewbits', 'gptq'],
    ['fewbits', 'compressed-tensors'],
    ['gguf', 'gptq'],
    ['gguf', 'compressed-tensors'],
  ])('%s -> %s', async (from, to) => {
    const source = from === 'gguf' ? await quantizedGguf() : await quantized(from);
    const { written, report } = await made(source, to, convertRecipe(source, to, { requantize: false }));
    expect(report.tensors.every(({ maxError = 0 }) => maxError === 0)).toBe(true);
    await expectEqual(source, written);
    const q = written.tensors.find((tensor) => tensor.name === 'model.layers.0.self_attn.q_proj.weight')!;
    expect(q.type).toBe(to === 'gguf' ? 'q4_0' : 'int4 g32 sym');
    expect(await verify(written)).toMatchObject({ ok: true, problems: [] });
  });

  test.each<[ContainerName, ContainerName]>([
    ['gptq', 'compressed-tensors'],
    ['compressed-tensors', 'gptq'],
    ['gptq', 'fewbits'],
  ])('asymmetric: %s -> %s', async (from, to) => {
    const source = await quantized(from, asymmetric);
    const { written } = await made(source, to, convertRecipe(source, to, { requantize: false }));
    await expectEqual(source, written);
    expect(written.tensors.find((tensor) => tensor.role === 'up')!.type).toBe('int4 g32 asym');
  });

  test('W8A8 keeps how activations are quantized', async () => {
    const input = { bits: 8, symmetric: true, dynamic: true, per: 'token' } as const;
    const source = await quantized('compressed-tensors', { ...scheme, bits: 8, granularity: 'channel', input });
    for (const to of ['fewbits', 'compressed-tensors'] as const) {
      const { written } = await made(source, to, convertRecipe(source, to, { requantize: false }));
      await expectEqual(source, written);
      expect(written.tensors.find(({ role }) => role === 'q')!.input).toEqual(input);
    }
  });

  test('what a container cannot take over is refused, or encoded again when asked', async () => {
    const bf16 = await quantized('compressed-tensors', { ...scheme, scaleType: 'bf16' });
    expect(() => convertRecipe(bf16, 'gptq', { requantize: false })).toThrow(
      /gptq cannot hold int4 g32 sym as it is: its scales are f16/,
    );
    const { written } = await made(bf16, 'gptq', convertRecipe(bf16, 'gptq', { requantize: true }));
    expect(written.tensors.find(({ role }) => role === 'q')!.type).toBe('int4 g32 sym');
    const three = await quantized('gptq', { ...scheme, bits: 3 });
    expect(() => convertRecipe(three, 'compressed-tensors', { requantize: false })).toThrow(/its loaders have 4 and 8 bits/);
    const blocks = await quantized('gguf', { kind: 'storage', type: 'q4_k' });
    expect(() => convertRecipe(blocks, 'gptq', { requantize: false })).toThrow(
      /gptq cannot hold q4_k as it is: it has no such grid/,
    );
    const plain = await syntheticModel();
    const nothing = plan(plain, convertRecipe(plain, 'gptq', { requantize: false }), { output: 'out' });
    await expect(nothing).rejects.toThrow(/nothing is quantized.*fewbits quantize MODEL --to gptq/);
  });
});

describe('the configuration', () => {
  const planned = async (container: ContainerName, recipe: Omit<RecipeInput, 'version'>, spec = llamaSpec) => {
    const model = await syntheticModel(spec);
    models.push(model);
    return plan(model, parseRecipe({ version: 1, container, scheme, ...recipe }), { output: 'out' });
  };
  const configOf = ({ layout }: Awaited<ReturnType<typeof planned>>) => {
    const file = layout.files.find(({ name }) => name === 'config.json')!;
    return JSON.parse(new TextDecoder().decode(file.known[0]!.bytes)).quantization_config;
  };

  test('of linears that stay or differ', async () => {
    const rules = [{ role: 'down', scheme: { ...scheme, bits: 8 } }] as const;
    const keep = ['model.layers.1.self_attn.*.weight'];
    const gptq = await planned('gptq', { rules: [...rules], keep });
    const down = (layer: number) => `+:^model\\.layers\\.${layer}\\.mlp\\.down_proj$`;
    expect(configOf(gptq).dynamic).toMatchObject({
      '-:^model\\.layers\\.1\\.self_attn\\.q_proj$': {},
      [down(0)]: { bits: 8, group_size: 32, sym: true, desc_act: false },
    });
    const { config_groups, ignore } = configOf(await planned('compressed-tensors', { rules: [...rules], keep }));
    expect(Object.keys(config_groups)).toEqual(['group_0', 'group_1']);
    expect(config_groups.group_0).toMatchObject({
      targets: [0, 1].map((i) => `model.layers.${i}.mlp.down_proj`),
      weights: { num_bits: 8, group_size: 32 },
    });
    expect(config_groups.group_1.weights.num_bits).toBe(4);
    expect(ignore.sort()).toEqual(['lm_head', ...['k', 'o', 'q', 'v'].map((part) => `model.layers.1.self_attn.${part}_proj`)]);
    const tied = await planned('compressed-tensors', {}, { ...llamaSpec, tied: true });
    expect(configOf(tied).ignore).toEqual(['lm_head']);
    const { written } = await made((await planned('gptq', {})).model, 'gptq', {
      version: 1,
      container: 'gptq',
      scheme,
      rules: [...rules],
      keep,
    });
    expect(written.tensors.find(({ role }) => role === 'down')!.type).toBe('int8 g32 sym');
    expect(written.warnings).toEqual([]);
  });

  test.each(['gptq', 'compressed-tensors'] as const)('%s warns where vLLM would join unlike linears', async (container) => {
    const { warnings } = await planned(container, { keep: ['model.layers.0.self_attn.k_proj.weight'] });
    expect(warnings).toEqual([
      expect.stringMatching(/^model\.layers\.0\.self_attn\.q_proj\.weight: vLLM joins q, k, v .* int4 g32 sym and not quantized/),
    ]);
  });

  test.each([
    ['gptq', { scheme: { ...scheme, granularity: 'tensor' } }, /shared by groups or rows/],
    ['gptq', { scheme: { ...scheme, bits: 5 } }, /codes of 2, 3, 4, 8 bits/],
    ['gptq', { scheme: { ...scheme, scaleType: 'bf16' } }, /its scales are f16/],
    ['gptq', { scheme, pure: true }, /quantized linears only.*--keep 'model.embed_tokens.weight'/],
    ['compressed-tensors', { scheme: { ...scheme, bits: 3 } }, /4 and 8 bits/],
    ['compressed-tensors', { scheme: { ...scheme, granularity: 'tensor' } }, /stored for 8 bits only/],
    ['compressed-tensors', { scheme: { ...asymmetric, zero: 'float' } }, /zero points are integers/],
  ] as [ContainerName, Omit<RecipeInput, 'version'>, RegExp][])('%s refuses %j', async (container, recipe, message) => {
    await expect(planned(container, recipe)).rejects.toThrow(message);
  });
});
