/** Runs that look at activations, end to end on a small model: what each order sees, and that nothing but the order decides the bytes. */
import { describe, expect, test } from 'vitest';
import { NumericError } from '../../errors.ts';
import { llamaSpec, syntheticModel, syntheticTensors } from '../../format/synthetic.fixture.ts';
import { MemoryStore, read } from '../../io/index.ts';
import { plan, type QuantizeOptions, type Recipe, recipeFromOptions } from '../../recipe/index.ts';
import { fromF32, toF32 } from '../../tensor/index.ts';
import type { Report } from '../report.ts';
import { type RunOptions, run } from '../run.ts';
import type { CalibrationWindows } from './windows.ts';

const [samples, context] = [6, 32];
const ids = Int32Array.from({ length: samples * context }, (_, i) => (i * 7919 + (i >> 3)) % llamaSpec.vocab);
const calibration: CalibrationWindows = { ids, samples, context, warnings: [] };
const model = await syntheticModel();

const int4: QuantizeOptions = { method: 'gptq', bits: 4, group: 64, samples, context };
const recipeOf = (options: QuantizeOptions, output: string): Recipe => recipeFromOptions(options, 'model', output, 'bf16');

interface Made {
  report: Report;
  /** Of each tensor of the output. */
  bytes: ReadonlyMap<string, string>;
}

async function made(
  options: QuantizeOptions,
  running: RunOptions & { store?: MemoryStore; recipe?: Recipe } = {},
): Promise<Made> {
  const output = options.type ? 'out.gguf' : 'out';
  const planned = await plan(model, running.recipe ?? recipeOf(options, output), { output });
  const { store = new MemoryStore(), recipe: _, ...rest } = running;
  const report = await run(planned, store, { threads: 1, calibration, ...rest });
  const bytes = new Map<string, string>();
  for (const { name, source, fields } of planned.layout.tensors) {
    const parts: string[] = [];
    for (const { file, offset, rowBytes, whole, stripes } of Object.values(fields)) {
      const { kind } = planned.output;
      const place = kind === 'folder' ? `out/${planned.layout.files[file]!.name}` : output;
      const from = await store.open(place);
      const rows = planned.layout.tensors.find((tensor) => tensor.name === name)!.from.rows;
      const size = stripes ? stripes.lines * stripes.lineBytes : (whole ?? rows * rowBytes);
      parts.push(Buffer.from(await read(from, offset, size)).toString('base64'));
    }
    bytes.set(source, parts.join());
  }
  return { report, bytes };
}

/** Names of the linears of layer 0 whose bytes are not the same. */
function changed(a: Made, b: Made): string[] {
  const differing = [...a.bytes].flatMap(([name, bytes]) => (b.bytes.get(name) === bytes ? [] : [name]));
  return differing.map((name) => name.replace(/^model\.layers\.(\d)\.\w+\.(\w+)_proj\.weight$/, '$1 $2'));
}

/** What depends on the machine and the moment. */
const lasting = ({ seconds: _, peakMemory: __, resumed: ___, ...report }: Report) => report;

const secondLayer = ['1 down', '1 gate', '1 up', '1 k', '1 o', '1 q', '1 v'];

describe('what the layers before are', async () => {
  const parallel = await made(int4);
  const block = await made({ ...int4, calibration: 'block' });
  const sequential = await made({ ...int4, calibration: 'sequential' });

  test('block: the first layer sees what it sees in parallel, the second quantized inputs', () => {
    expect(changed(parallel, block).sort()).toEqual([...secondLayer].sort());
  });

  test('sequential: in a layer, all but the first linears see quantized ones', () => {
    expect(changed(parallel, sequential).sort()).toEqual(['0 down', '0 gate', '0 o', '0 up', ...secondLayer].sort());
    expect(changed(block, sequential)).toContain('1 q');
  });

  test('targets that make up for the layers before are other targets', async () => {
    const recipe = recipeOf({ ...int4, calibration: 'block' }, 'out');
    const plain = await made(int4, { recipe: { ...recipe, calibration: { ...recipe.calibration!, correct: false } } });
    expect(changed(block, plain).sort()).toEqual([...secondLayer].sort());
  });

  test('the report names every input once, with what was done to its Hessian', () => {
    for (const { report } of [parallel, block, sequential]) {
      expect(
        report.solves!.map(({ linears }) => linears.map((linear) => linear.split('.').at(-1)!.slice(0, -5)).join(' ')),
      ).toEqual(['q k v', 'o', 'gate up', 'down', 'q k v', 'o', 'gate up', 'down']);
      for (const solve of report.solves!) expect(solve).toMatchObject({ tokens: 192, damp: 0.01, retries: 0, dead: 0 });
      // 192 tokens cannot span 256 inputs.
      for (const warning of report.warnings) expect(warning).toMatch(/192 tokens are fewer than its (256|512) inputs/);
      expect(report.warnings).toHaveLength(8);
    }
    expect(sequential.report.calibration).toEqual({
      order: 'sequential',
      correct: true,
      samples,
      context,
      tokens: 192,
      text: { sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
    });
  });

  test('codes are no longer the nearest ones', async () => {
    const nearest = await made({ bits: 4, group: 64, to: 'gptq' });
    const down = (one: Made) => one.report.tensors.find(({ source }) => source.includes('0.mlp.down'))!.sqnr!;
    expect(down(parallel)).toBeLessThan(down(nearest) - 0.3);
    expect(nearest.report.solves).toBeUndefined();
  });
});

describe('the same bytes and report for any number of workers', () => {
  test.each<[string, number[], QuantizeOptions]>([
    ['gptq with a g_idx', [2, 3], { ...int4, actOrder: true }],
    ['q4_k_m, sequential', [3], { method: 'gptq', type: 'q4_k_m', calibration: 'sequential', samples, context }],
    ['compressed-tensors, block', [2], { ...int4, symmetric: false, to: 'compressed-tensors', calibration: 'block' }],
  ])('%s', async (_, counts, options) => {
    const one = await made(options);
    for (const threads of counts) {
      const more = await made(options, { threads });
      expect(changed(one, more)).toEqual([]);
      expect(lasting(more.report)).toEqual(lasting(one.report));
    }
  });
});

test.each([false, true])(
  'block, with a linear that stays, activation order %s: what is written yet can be read',
  async (actOrder) => {
    const keep = ['*.layers.0.mlp.up_proj.weight'];
    const { report } = await made({ ...int4, calibration: 'block', keep, actOrder });
    expect(report.solves).toHaveLength(8);
    expect(report.recipe).toMatchObject({ keep });
  },
);

describe('a run that is continued', () => {
  /** Aborts when so many tensors are written; the same plan goes on in the same store. */
  async function interrupted(
    options: QuantizeOptions,
    after: number,
    spoil?: (store: MemoryStore) => Promise<void>,
  ): Promise<Made> {
    const store = new MemoryStore();
    const abort = new AbortController();
    const begun = made(options, {
      store,
      signal: abort.signal,
      onProgress: ({ tensors }) => tensors >= after && abort.abort(),
    });
    await expect(begun).rejects.toThrow(/abort/i);
    await spoil?.(store);
    return made(options, { store });
  }

  test.each<[string, QuantizeOptions]>([
    ['parallel', int4],
    ['sequential q4_0', { method: 'gptq', type: 'q4_0', calibration: 'sequential', samples, context }],
  ])('%s: the same bytes, and every solve in the report', async (_, options) => {
    const whole = await made(options);
    const total = whole.bytes.size;
    for (const left of [3, 9]) {
      const again = await interrupted(options, total - left);
      expect(changed(whole, again), `${left} tensors left`).toEqual([]);
      expect(again.report.resumed).toBeGreaterThan(0);
      expect(lasting(again.report)).toEqual(lasting(whole.report));
    }
  });

  test('killed between a solve and its first tile', async () => {
    const options: QuantizeOptions = { ...int4, calibration: 'sequential' };
    const whole = await made(options);
    const journal = 'out.unfinished/journal.jsonl';
    let cut = 0;
    const again = await interrupted(options, whole.bytes.size - 6, async (store) => {
      const source = await store.open(journal);
      const lines = new TextDecoder()
        .decode(await read(source, 0, source.size))
        .split('\n')
        .filter(Boolean);
      const last = lines.findLastIndex((line) => line.startsWith('{"linears"'));
      cut = lines.length - 1 - last;
      await store.remove(journal);
      await store.append(journal, new TextEncoder().encode(`${lines.slice(0, last + 1).join('\n')}\n`));
    });
    expect(cut).toBeGreaterThan(0);
    expect(changed(whole, again)).toEqual([]);
    expect(lasting(again.report)).toEqual(lasting(whole.report));
  });

  test('on another text it is refused', async () => {
    const store = new MemoryStore();
    const abort = new AbortController();
    const onProgress: RunOptions['onProgress'] = ({ tensors }) => tensors > 8 && abort.abort();
    await expect(made(int4, { store, signal: abort.signal, onProgress })).rejects.toThrow(/abort/i);
    const other = { ...calibration, ids: ids.map((id) => (id + 1) % llamaSpec.vocab) };
    await expect(made(int4, { store, calibration: other })).rejects.toThrow(/of another calibration text lies here/);
  });
});

describe('what cannot be calibrated', () => {
  test('activations that are not finite: the first linear that sees them is named, and nothing stays', async () => {
    const tensors = syntheticTensors(llamaSpec);
    const name = 'model.layers.0.post_attention_layernorm.weight';
    const { type, shape, bytes } = tensors.get(name)!;
    tensors.set(name, { type, shape, bytes: fromF32('bf16', toF32('bf16', bytes).with(5, 3e38)) });
    const broken = await syntheticModel(llamaSpec, { tensors });
    const store = new MemoryStore();
    const planned = await plan(broken, recipeOf(int4, 'out'), { output: 'out' });
    const attempt = run(planned, store, { calibration });
    await expect(attempt).rejects.toThrow(NumericError);
    await expect(attempt).rejects.toThrow(/layer 0: model\.layers\.0\.mlp\.gate_proj: .* activations are NaN or Inf/);
    expect(await store.list()).toEqual([]);
  });

  test('a plan that needs text, and none', async () => {
    const planned = await plan(model, recipeOf(int4, 'out'), { output: 'out' });
    await expect(run(planned, new MemoryStore())).rejects.toThrow(/the run was given no text/);
  });
});
