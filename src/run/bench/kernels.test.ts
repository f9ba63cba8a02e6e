/** Kernels of few bits against the simulation of the same codes in floats. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { defaultModel } from '#run/embedded';
import { type Model, open } from '../../format/index.ts';
import {
  buildModel,
  dynamicLinears,
  type LanguageModel,
  loadLanguageModel,
  type PackedLinear,
  packedLinears,
  type WeightReader,
} from '../../graph/index.ts';
import type { ModelSpec } from '../../model/index.ts';
import { weightReader } from '../weights.ts';
import { type CodedLinears, kernels, quantizedLinears, simulationOf } from './kernels.ts';

const ids = Int32Array.of(0, 403, 12, 77, 9, 1500, 31, 8, 5, 219, 64, 700);

let model: Model;
let spec: ModelSpec;
let reader: WeightReader;
let plain: Float32Array;
const coded: Partial<Record<'int8' | 'int4', CodedLinears>> = {};

beforeAll(async () => {
  model = await open(defaultModel);
  const read = weightReader(model);
  // The output matrix is quantized and the lookup is not: two matrices in the simulation.
  spec = { ...model.spec!, tied: false };
  reader = (name) => read(name === 'lm_head.weight' ? 'model.embed_tokens.weight' : name);
  plain = await logitsOf(await loadLanguageModel(spec, reader, { threads: 1 }));
  coded.int8 = await quantizedLinears(spec, reader, 'int8');
  coded.int4 = await quantizedLinears(spec, reader, 'int4');
});
afterAll(() => model.close());

async function logitsOf(language: LanguageModel, step = false): Promise<Float32Array> {
  try {
    if (!step) return await language.logits(ids, 1, ids.length);
    const decoder = await language.decoder(1);
    const rows: number[] = [];
    for (const id of ids) rows.push(...(await decoder.step(Int32Array.of(id))));
    return Float32Array.from(rows);
  } finally {
    await language.close();
  }
}

/** Root of the mean squared difference, relative to the values. */
function distance(a: Float32Array, b: Float32Array): number {
  let [error, power] = [0, 0];
  a.forEach((value, i) => {
    error += (value - b[i]!) ** 2;
    power += b[i]! ** 2;
  });
  return Math.sqrt(error / power);
}

describe.each([
  // Sums in another order.
  ['int4', 1e-5],
  // A value next to a tie may fall to the other side in another order of f32 operations.
  ['int8-token', 2e-3],
  ['int8', 5e-3],
  // Beside the simulated weights the kernel rounds blocks of inputs to 8 bits.
  ['int4-int8', 2e-2],
] as const)('%s', (name, tolerance) => {
  const kernel = kernels[name];

  test.each([
    ['all at once', false],
    ['token by token through the cache', true],
  ])(`%s: logits of its simulation within ${tolerance}`, async (_, step) => {
    const linears = coded[kernel.weights as 'int8' | 'int4']!;
    expect(linears.size).toBe(4 * 7 + 1);
    const simulation = simulationOf(kernel, linears, reader);
    const { inputs } = simulation;
    const simulated = await logitsOf(await loadLanguageModel(spec, simulation.reader, { threads: 1, inputs }), step);
    const pass = kernel.pass!(linears);
    const computed = await logitsOf(await loadLanguageModel(spec, reader, { threads: 1, passes: [pass] }), step);
    expect(distance(computed, simulated)).toBeLessThan(tolerance);
    // What quantization changes is far more, so that the kernel is no f32 product.
    expect(distance(computed, plain)).toBeGreaterThan(Math.max(1e-2, 3 * tolerance));
  });
});

test('kernels refuse what they cannot hold', () => {
  const graph = buildModel(spec, { outputs: ['logits'] });
  const [name, one] = [...coded.int4!][0]!;
  const odd = { ...one, block: 24 } as unknown as PackedLinear;
  expect(() => packedLinears(graph, new Map([[name, odd]]))).toThrow(/blocks of a power of two/);
  expect(() => packedLinears(graph, new Map([['nothing', odd]]))).toThrow(/no such linear/);
  const short = { codes: new Int8Array(3), scale: new Float32Array(1) };
  expect(() => dynamicLinears(graph, new Map([[name, short]]))).toThrow(/wrong shape/);
});
