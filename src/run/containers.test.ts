/** One suite that every container of the registry passes: what it lays out, a run fills, and opening gives the same model back. */
import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { fieldBytes } from '../format/field-ranges.ts';
import { sha256 } from '../format/fingerprint.ts';
import { type ContainerName, containers, type Model, open } from '../format/index.ts';
import { llamaSpec, randomTensor, syntheticBag, syntheticFolder, syntheticModel } from '../format/synthetic.fixture.ts';
import { MemoryStore, memorySource, read, type Store } from '../io/index.ts';
import { type Plan, parseRecipe, plan, type RecipeInput } from '../recipe/index.ts';
import { storage } from '../tensor/index.ts';
import { convertRecipe } from './convert.ts';
import { run } from './run.ts';
import { verify } from './verify.ts';
import { weightReader } from './weights.ts';

const int4 = {
  kind: 'integer',
  bits: 4,
  symmetric: true,
  granularity: { group: 64 },
  range: 'absmax-half',
  scaleType: 'f16',
} as const;

const tokenwise = { bits: 8, symmetric: true, dynamic: true, per: 'token' } as const;
const bf16Arithmetic = {
  bits: 8,
  arithmetic: { compute: 'bf16', zero: 'beforeRounding' },
  emptyGroup: 'epsilon',
  scaleType: 'bf16',
} as const;

/** What each container quantizes to here, and the largest error in steps of half a code, by scheme. */
const outputs: Record<ContainerName, { name: string; recipe: Omit<RecipeInput, 'version'>; sqnr: number }[]> = {
  gguf: [
    { name: 'model.gguf', recipe: { fileType: 'q8_0' }, sqnr: 40 },
    { name: 'model.gguf', recipe: { fileType: 'q4_k_m' }, sqnr: 20 },
    { name: 'model.gguf', recipe: { scheme: { kind: 'storage', type: 'q5_0' } }, sqnr: 25 },
  ],
  fewbits: [
    { name: 'model.safetensors', recipe: { scheme: int4 }, sqnr: 18 },
    { name: 'out', recipe: { scheme: int4 }, sqnr: 18 },
    { name: 'out', recipe: { scheme: { ...int4, granularity: 'tensor' } }, sqnr: 10 },
    { name: 'out', recipe: { scheme: { ...int4, symmetric: false, range: 'minmax', granularity: 'channel' } }, sqnr: 16 },
    { name: 'out', recipe: { scheme: { ...int4, symmetric: false, range: 'minmax', zero: 'float', bits: 3 } }, sqnr: 12 },
    { name: 'out', recipe: { scheme: { ...int4, bits: 8, scaleType: 'bf16' } }, sqnr: 35 },
    { name: 'out', recipe: { scheme: { kind: 'storage', type: 'q6_k' } }, sqnr: 30 },
  ],
  gptq: [
    { name: 'out', recipe: { scheme: int4 }, sqnr: 18 },
    { name: 'out', recipe: { scheme: { ...int4, granularity: 'channel', signed: false, range: 'absmax-gptq' } }, sqnr: 16 },
    {
      name: 'out',
      recipe: { scheme: { ...int4, symmetric: false, range: 'minmax', bits: 3, granularity: { group: 32 } } },
      sqnr: 12,
    },
    {
      name: 'out',
      recipe: { scheme: { ...int4, bits: 8, symmetric: false, range: 'minmax', granularity: 'channel' } },
      sqnr: 35,
    },
    { name: 'out', recipe: { scheme: { ...int4, bits: 2, range: 'mse' }, keep: ['*.down_proj.weight'] }, sqnr: 4 },
  ],
  'compressed-tensors': [
    { name: 'out', recipe: { scheme: int4 }, sqnr: 18 },
    { name: 'out', recipe: { scheme: { ...int4, symmetric: false, range: 'minmax', scaleType: 'bf16' } }, sqnr: 18 },
    { name: 'out', recipe: { scheme: { ...int4, bits: 8, granularity: 'tensor', scaleType: 'f32' } }, sqnr: 30 },
    { name: 'out', recipe: { scheme: { ...int4, bits: 8, granularity: 'channel', input: tokenwise } }, sqnr: 35 },
    { name: 'out', recipe: { scheme: { ...int4, ...bf16Arithmetic }, keep: ['*.0.*'] }, sqnr: 18 },
  ],
  safetensors: [
    { name: 'out', recipe: {}, sqnr: Number.POSITIVE_INFINITY },
    { name: 'model.safetensors', recipe: {}, sqnr: Number.POSITIVE_INFINITY },
    { name: 'out', recipe: { scheme: { kind: 'storage', type: 'f16' } }, sqnr: 60 },
  ],
};

const models: Model[] = [];
afterAll(() => Promise.all(models.map((model) => model.close())));

async function opened(store: Store, name: string): Promise<Model> {
  const model = await open({ store, name });
  models.push(model);
  return model;
}

async function planned(
  model: Model,
  container: ContainerName,
  name: string,
  recipe: Omit<RecipeInput, 'version'>,
): Promise<Plan> {
  return plan(model, parseRecipe({ version: 1, container, ...recipe }), { output: name });
}

/** Fields and bytes that are known beforehand: sorted, they must touch or leave padding of known zeros only. */
function checkLayout({ layout, bytes }: Plan): void {
  expect(layout.files.reduce((sum, file) => sum + file.size, 0)).toBe(bytes);
  layout.files.forEach((file, index) => {
    const ranges = file.known.map(({ offset, bytes: known }) => [offset, offset + known.length] as const);
    const fields = layout.tensors.flatMap(({ from, fields }) =>
      Object.values(fields)
        .filter((field) => field.file === index)
        .map((field) => [field.offset, field.offset + fieldBytes(field, from.rows)] as const),
    );
    const sorted = [...ranges, ...fields].sort((a, b) => a[0] - b[0]);
    let end = 0;
    for (const [from, to] of sorted) {
      expect(from, `${file.name} at ${from}`).toBeGreaterThanOrEqual(end);
      expect(from - end, `${file.name}: hole at ${end}`).toBeLessThan(32);
      end = to;
    }
    if (!file.copy) expect(file.size - end, `${file.name}: tail`).toBeLessThan(32);
  });
}

/** Bit for bit; `toEqual` would look at each of a million values. */
function expectSame(y: Float32Array, x: Float32Array, name: string): void {
  const bytes = ({ buffer, byteOffset, byteLength }: Float32Array) => Buffer.from(buffer, byteOffset, byteLength);
  expect(bytes(y).equals(bytes(x)), name).toBe(true);
}

async function bytesOf(store: Store, name: string): Promise<Uint8Array> {
  const source = await store.open(name);
  return read(source, 0, source.size);
}

/** dB over all values of a tensor. */
function sqnr(x: Float32Array, y: Float32Array): number {
  let signal = 0;
  let noise = 0;
  x.forEach((value, i) => {
    signal += value * value;
    noise += (value - y[i]!) ** 2;
  });
  return 10 * Math.log10(signal / noise);
}

for (const container of Object.keys(containers) as ContainerName[]) {
  describe(container, () => {
    test.each(outputs[container])('$name $recipe: plan, run, open, compare', async ({ name, recipe, sqnr: least }) => {
      const model = await syntheticModel();
      models.push(model);
      const made = await planned(model, container, name, recipe);
      checkLayout(made);
      const store = new MemoryStore('output');
      const report = await run(made, store, { threads: 2 });
      expect(report.bytes).toBe(made.bytes);
      const sizes = await Promise.all(
        made.layout.files.map((file) => store.stat(report.output.includes('.') ? file.name : `out/${file.name}`)),
      );
      expect(sizes.map((size) => size?.size)).toEqual(made.layout.files.map((file) => file.size));

      const written = await opened(store, name);
      const [source, output] = [weightReader(model), weightReader(written)];
      const byName = new Map(written.tensors.map((tensor) => [tensor.name, tensor]));
      expect([...byName.keys()].sort()).toEqual(model.tensors.map((tensor) => tensor.name).sort());
      for (const [i, tensor] of model.tensors.entries()) {
        const to = byName.get(tensor.name)!;
        expect(to.shape).toEqual(tensor.shape);
        const [x, y] = [await source(tensor.name), await output(tensor.name)];
        const { scheme } = made.layout.tensors.find((placed) => placed.source === tensor.name)!;
        const lossy =
          scheme.kind === 'integer' || (scheme.kind === 'storage' && (storage[scheme.type].block > 1 || scheme.type === 'f16'));
        if (lossy) expect(sqnr(x, y), `${i} ${tensor.name}`).toBeGreaterThan(least);
        else expectSame(y, x, tensor.name);
      }
      expect(await verify(written, model)).toMatchObject({ ok: true, problems: [] });
    });

    test('the same bytes for any number of threads', async () => {
      const { name, recipe } = outputs[container][0]!;
      const made = await planned(await syntheticModel(), container, name, recipe);
      const bytes = async (threads: number) => {
        const store = new MemoryStore('output');
        await run(made, store, { threads });
        const files = (await store.list()).filter((file) => !file.includes('report.json'));
        return Promise.all(files.map(async (file) => [file, await sha256((await bytesOf(store, file)).slice())]));
      };
      expect(await bytes(1)).toEqual(await bytes(3));
    });

    test('a scheme that it cannot hold is refused with a reason', async () => {
      const model = await syntheticModel();
      const scheme = container === 'gguf' ? int4 : ({ kind: 'storage', type: 'q4_0' } as const);
      if (container === 'fewbits') return;
      const name = container === 'gguf' ? 'model.gguf' : 'out';
      await expect(planned(model, container, name, { scheme })).rejects.toThrow(new RegExp(`${container} cannot hold .*: `));
    });

    test('a bag of tensors', async () => {
      const bag = await syntheticBag([
        ['a.weight', randomTensor([8, 256], 1)],
        ['a.b', randomTensor([3], 2)],
        ...(container === 'gguf' ? [] : [['empty', randomTensor([0, 4], 3)] as const]), // GGUF has no empty tensors
        ['ids', { type: 'i32', shape: [2, 2], bytes: new Uint8Array(16).fill(3) }],
      ]);
      const isFolder = containers[container].output === 'folder';
      const name = container === 'gguf' ? 'bag.gguf' : isFolder ? 'bag' : 'bag.safetensors';
      const q8 = isFolder ? { ...int4, bits: 8 } : ({ kind: 'storage', type: 'q8_0' } as const);
      const recipe = container === 'safetensors' ? {} : { rules: [{ name: 'a.weight', scheme: q8 }] };
      const store = new MemoryStore('output');
      await run(await planned(bag, container, name, recipe), store);
      const written = await opened(store, name);
      const values = weightReader(written);
      expect(sqnr(await weightReader(bag)('a.weight'), await values('a.weight'))).toBeGreaterThan(40);
      expect(await values('a.b')).toEqual(await weightReader(bag)('a.b'));
      const ids = written.tensors.find((tensor) => tensor.name === 'ids')!;
      expect(ids).toMatchObject({ type: 'i32', shape: [2, 2], bytes: 16 });
    });
  });
}

describe('round trips', () => {
  const converted = async (model: Model, to: ContainerName, name: string, options = {}) => {
    const store = new MemoryStore(to);
    const made = await plan(model, convertRecipe(model, to, { requantize: false, ...options }), { output: name });
    const report = await run(made, store, { threads: 2 });
    return { store, report, model: await opened(store, name), made };
  };

  test('Hugging Face -> GGUF -> Hugging Face: rows of q and k and their biases are where they were', async () => {
    const source = syntheticFolder();
    const model = await opened(source, 'model');
    const gguf = await converted(model, 'gguf', 'model.gguf');
    const q = gguf.model.tensors.find((tensor) => tensor.fileName === 'blk.0.attn_q.bias')!;
    expect(q.stored).toMatchObject({ rows: 256, cols: 1, order: { heads: 4, way: 'deinterleave' } });
    const back = await converted(gguf.model, 'safetensors', 'back');
    expect(back.model.spec).toEqual(model.spec);
    const readers = [weightReader(model), weightReader(back.model)] as const;
    for (const { name } of model.tensors) expectSame(await readers[1](name), await readers[0](name), name);
    expect(await verify(gguf.model, model)).toMatchObject({ ok: true });
    expect(await verify(back.model, model)).toMatchObject({ ok: true });
  });

  test('Llama 3 scaling: a tensor in GGUF, parameters in config.json', async () => {
    const scaling = { kind: 'llama3', factor: 8, lowFrequency: 1, highFrequency: 4, originalContext: 32 } as const;
    const model = await syntheticModel({ ...llamaSpec, rope: { ...llamaSpec.rope, scaling } });
    const gguf = await converted(model, 'gguf', 'model.gguf');
    expect(gguf.model.spec!.rope.scaling.kind).toBe('tensor');
    const back = await converted(gguf.model, 'safetensors', 'back');
    expect(back.model.spec).toEqual(model.spec);
    expect(back.model.tensors.map((tensor) => tensor.name)).not.toContain('rope_freqs.weight');
    expect(await verify(back.model, gguf.model)).toMatchObject({ ok: true });
    expect(await verify(gguf.model, back.model)).toMatchObject({ ok: true });
  });

  test.each([
    { bits: 4, granularity: { group: 64 }, type: 'q4_0' },
    { bits: 3, granularity: 'channel', type: 'q4_0' },
    { bits: 5, granularity: { group: 32 }, type: 'q5_0' },
    { bits: 8, granularity: 'tensor', type: 'q8_0' },
  ] as const)('int$bits $granularity is exactly $type', async ({ bits, granularity, type }) => {
    const model = await syntheticModel();
    const store = new MemoryStore('fewbits');
    const range = bits === 8 ? 'absmax-full' : 'absmax-half';
    await run(await planned(model, 'fewbits', 'out', { scheme: { ...int4, bits, granularity, range } }), store);
    const fewbits = await opened(store, 'out');
    const { report, model: gguf, made } = await converted(fewbits, 'gguf', 'model.gguf');
    expect(report.tensors.every((tensor) => tensor.maxError === 0)).toBe(true);
    expect(made.tensors.find((tensor) => tensor.source.endsWith('0.self_attn.q_proj.weight'))!.scheme).toBe(type);
    const readers = [weightReader(fewbits), weightReader(gguf)] as const;
    for (const { name } of fewbits.tensors) expectSame(await readers[1](name), await readers[0](name), name);
  });

  test('other grids are refused, or encoded again when asked', async () => {
    const model = await syntheticModel();
    const store = new MemoryStore('fewbits');
    await run(await planned(model, 'fewbits', 'out', { scheme: { ...int4, symmetric: false, range: 'minmax' } }), store);
    const fewbits = await opened(store, 'out');
    expect(() => convertRecipe(fewbits, 'gguf', { requantize: false })).toThrow(
      /no type with the grid of int4 g64 asym.*--requantize/,
    );
    expect(() => convertRecipe(fewbits, 'gguf', { requantize: false, type: 'f16' })).toThrow(/does not fit f16 without loss/);
    const made = await converted(fewbits, 'gguf', 'model.gguf', { requantize: true });
    expect(made.report.tensors.find((tensor) => tensor.name === 'blk.0.ffn_up.weight')!.scheme).toBe('q4_1');
    const f32 = await converted(fewbits, 'safetensors', 'wide', { type: 'f32' });
    expect(f32.report.tensors.every((tensor) => tensor.maxError === 0)).toBe(true);
    expect(f32.model.checkpoint.config).toMatchObject({ dtype: 'float32' });
    expect(f32.model.checkpoint.config).not.toHaveProperty('quantization_config');
  });

  test('fewbits -> fewbits keeps codes and scales; blocks too', async () => {
    const model = await syntheticModel();
    const store = new MemoryStore('fewbits');
    const rules = [{ role: 'down', scheme: { kind: 'storage', type: 'q4_k' } }] as const;
    await run(await planned(model, 'fewbits', 'out', { scheme: int4, rules: [...rules] }), store);
    const once = await opened(store, 'out');
    const twice = await converted(once, 'fewbits', 'again');
    expect(twice.model.tensors.map(({ type, bytes }) => [type, bytes])).toEqual(
      once.tensors.map(({ type, bytes }) => [type, bytes]),
    );
    const readers = [weightReader(once), weightReader(twice.model)] as const;
    for (const { name } of once.tensors) expectSame(await readers[1](name), await readers[0](name), name);
  });

  test('a GGUF copy is the same file', async () => {
    const model = await syntheticModel();
    const store = new MemoryStore('gguf');
    await run(await planned(model, 'gguf', 'model.gguf', { fileType: 'q4_k_m' }), store);
    const first = await opened(store, 'model.gguf');
    const copy = await converted(first, 'gguf', 'model.gguf');
    expect(copy.model.checkpoint.gguf!.get('general.file_type')).toEqual({ type: 'u32', value: 15 });
    const readers = [weightReader(first), weightReader(copy.model)] as const;
    for (const { name } of first.tensors) expectSame(await readers[1](name), await readers[0](name), name);
  });

  test('a GGUF file becomes a folder with configuration and tokenizer', async () => {
    const file = readFileSync(new URL('../../test/golden/gguf/stories260K-f16.gguf', import.meta.url));
    const gguf = await open({ source: memorySource(file, 'stories260K.gguf') });
    const { model, store, report } = await converted(gguf, 'safetensors', 'stories');
    expect(report.warnings).toEqual([]);
    expect((await store.list()).map((name) => name.slice('stories/'.length))).toEqual([
      'config.json',
      'generation_config.json',
      'model.safetensors',
      'report.json',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    expect(model.spec).toEqual({ ...gguf.spec, normEpsilon: 1e-5 });
    const [before, after] = [await gguf.tokenizer(), await model.tokenizer()];
    const text = 'Once upon a time, Zoë saw 日本 — twice.';
    expect([...after.encode(text)]).toEqual([...before.encode(text)]);
    expect(after).toMatchObject({
      bosId: before.bosId,
      eosIds: before.eosIds,
      addBos: before.addBos,
      vocabSize: before.vocabSize,
    });
    const again = await converted(model, 'gguf', 'again.gguf');
    for (const key of ['tokens', 'bos_token_id', 'eos_token_id'])
      expect(again.model.checkpoint.gguf!.get(`tokenizer.ggml.${key}`)).toEqual(
        gguf.checkpoint.gguf!.get(`tokenizer.ggml.${key}`),
      );
    expect([...(await again.model.tokenizer()).encode(text)]).toEqual([...before.encode(text)]);
  });

  test('shards', async () => {
    const model = await syntheticModel();
    for (const container of Object.keys(containers) as ContainerName[]) {
      const name = container === 'gguf' ? 'model.gguf' : 'out';
      const scheme = containers[container].output === 'folder' ? { scheme: { ...int4, bits: 8 } } : {};
      const recipe = parseRecipe({ version: 1, container, ...scheme });
      const made = await plan(model, recipe, { output: name, maxShardSize: 300_000 });
      checkLayout(made);
      const store = new MemoryStore('shards');
      await run(made, store);
      const first = made.layout.files[0]!.name;
      const written = await opened(store, container === 'gguf' ? first : 'out');
      expect(made.layout.files.length).toBeGreaterThan(4);
      expect(await verify(written, model)).toMatchObject({ ok: true, problems: [] });
    }
  });
});
