import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { open } from '../format/index.ts';
import { syntheticBag } from '../format/synthetic.fixture.ts';
import type { Model } from '../format/types.ts';
import { keptRunBytes, layerRunBytes } from '../graph/layer-runs.ts';
import type { StatisticsReader } from '../quantize/statistics.ts';
import { spillBytes } from './memory.ts';
import { plan } from './plan.ts';
import type { RecipeInput } from './schema.ts';

const defaultModel = fileURLToPath(new URL('../../models/tinystories-3.7m', import.meta.url));

test('activations that memory does not hold go to the disk, twice where quantized and unquantized layers are compared', () => {
  const model = { spec: { hidden: 4096 } } as unknown as Model;
  const windows = { correct: true, context: 2048, samples: 128 };
  const states = 4 * 128 * 2048 * 4096;
  expect(spillBytes(model, { ...windows, order: 'parallel' })).toBe(states);
  expect(spillBytes(model, { ...windows, order: 'block' })).toBe(2 * states);
  expect(spillBytes(model, { ...windows, order: 'sequential', correct: false })).toBe(states);
  expect(spillBytes(model, { ...windows, order: 'block', samples: 8 })).toBe(0);
  expect(spillBytes(model, undefined)).toBe(0);
});

/** The largest peaks that were measured of q4_k_m on the default model, in bytes. */
const measured = [
  { order: 'parallel', threads: 1, peak: 483.8e6 },
  { order: 'parallel', threads: 2, peak: 541e6 },
  { order: 'sequential', threads: 1, peak: 779.7e6 },
  { order: 'sequential', threads: 2, peak: 752.6e6 },
] as const;

test.each(measured)(
  'the bound leaves a tenth to what $order order took with $threads threads',
  async ({ order, threads, peak }) => {
    const model = await open(defaultModel);
    const calibration = { order, samples: 128, context: 256 };
    const recipe = { version: 1, container: 'gguf', fileType: 'q4_k_m', rounding: { kind: 'gptq' }, calibration } as const;
    const { peakMemory } = await plan(model, recipe, { threads });
    await model.close();
    expect(peakMemory).toBeGreaterThan(peak / 0.9);
    expect(peakMemory).toBeLessThan(1.45 * peak);
  },
);

test('the bound leaves a tenth to what statistics from a file took with 2 threads', async () => {
  const model = await open(defaultModel);
  const statistics: StatisticsReader = {
    name: 'statistics',
    linears: () => [],
    has: () => true,
    shape: (linear) => [model.tensors.find(({ name }) => name === `${linear}.weight`)!.stored.cols],
    tokens: () => 32768,
    shared: (linear) => linear,
    read: async () => new Float32Array(0),
    fingerprint: async () => '',
    close: async () => {},
  };
  const recipe = { version: 1, container: 'gguf', fileType: 'q4_k_m', rounding: { kind: 'gptq' } } as const;
  const { peakMemory } = await plan(model, recipe, { threads: 2, statistics });
  await model.close();
  expect(peakMemory).toBeGreaterThan(229e6 / 0.9);
  expect(peakMemory).toBeLessThan(1.45 * 229e6);
});

test('what a run frees in blocks of less than 32 MiB stays with the process', () => {
  const spec = { hidden: 1024, intermediate: 3072, heads: 16, headDim: 64 } as Parameters<typeof keptRunBytes>[0];
  const [tokens, scores] = [16 * 256, 16 * 16 * 256 * 256];
  expect(layerRunBytes(spec, 256)).toBe(4 * (tokens * (6 * 1024 + 4 * 3072 + 4 * 1024) + 2 * scores));
  // 48 MiB of an MLP's block and 64 MiB of scores go back to the system.
  expect(keptRunBytes(spec, 256)).toBe(4 * tokens * (6 * 1024 + 4 * 1024));
});

test('a worker that balances columns and rounds with feedback factorizes by itself', async () => {
  const model = await open(defaultModel);
  const peak = async (threads: number, balance: boolean) => {
    const scheme = { kind: 'integer', bits: 4, symmetric: false, granularity: { group: 64 }, range: 'minmax' } as const;
    const balanced = { ...scheme, ...(balance && { balance: 'sinkhorn' as const }) };
    const recipe: RecipeInput = {
      ...{ version: 1, container: 'fewbits', rounding: { kind: 'gptq' } },
      ...{ scheme: balanced, keep: ['*embed*'] },
    };
    return (await plan(model, recipe, { threads })).peakMemory;
  };
  // down has the widest input: 768 columns.
  const more = [1, 2].map(async (threads) => (await peak(threads, true)) - (await peak(threads, false)));
  const [one, two] = await Promise.all(more);
  expect(one).toBeGreaterThanOrEqual(24 * 768 ** 2);
  expect(two).toBeGreaterThanOrEqual(2 * 24 * 768 ** 2);
  await model.close();
});

test('one walk for transforms and rounding needs the disk for its statistics, and less memory than two', async () => {
  const model = await open(defaultModel);
  const of = (order: 'parallel' | 'block') => {
    const scheme = { kind: 'integer', bits: 4, symmetric: false, granularity: { group: 64 }, range: 'minmax' } as const;
    const calibration = { order, correct: false, samples: 128, context: 256 };
    return plan(
      model,
      {
        version: 1,
        container: 'fewbits',
        scheme,
        transforms: [{ kind: 'awq' }],
        rounding: { kind: 'gptq' },
        calibration,
        keep: ['*embed*'],
      },
      { threads: 2 },
    );
  };
  const [once, again] = [await of('parallel'), await of('block')];
  expect(once.spillBytes - again.spillBytes).toBe(4 * (3 * (4 * 256 ** 2 + 8 * 256) + (4 * 768 ** 2 + 8 * 768)));
  // What was measured of this run: 443.9 MB.
  expect(once.peakMemory).toBeGreaterThan(443.9e6 / 0.95);
  expect(once.peakMemory).toBeLessThanOrEqual(again.peakMemory);
  await model.close();
});

test('a book of a whole tensor: the 20.4 bytes a value that learning it took, beside what every run takes', async () => {
  const [rows, cols] = [1024, 4096];
  const bag = await syntheticBag([['a', { type: 'f32', shape: [rows, cols], bytes: new Uint8Array(4 * rows * cols) }]]);
  const scheme = { kind: 'codebook', bits: 4, per: 'tensor' } as const;
  const { peakMemory } = await plan(bag, { version: 1, container: 'fewbits', scheme }, { threads: 1 });
  const [base, worker, garbage] = [160e6, 30e6, 80e6];
  expect(peakMemory).toBeGreaterThan(base + worker + garbage + 20.4 * rows * cols);
});
