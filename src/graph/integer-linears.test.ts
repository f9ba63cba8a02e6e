/** Linears in integers against their simulation in floats, and against exact sums where products are largest. */
import { describe, expect, test } from 'vitest';
import { loadRuntime } from '#graph/runtime';
import { ModelError, RecipeError } from '../errors.ts';
import { Random } from '../numeric/random.ts';
import { quantizeMatrix } from '../quantize/index.ts';
import type { ActivationScheme } from '../quantized/types.ts';
import { GraphBuilder } from './builder.ts';
import { type IntegerLinear, integerLinears } from './integer-linears.ts';
import { bytesOf, type Graph } from './ir.ts';
import type { Backend } from './onnx-runtime.ts';
import { quantizeInputs } from './quantize-inputs.ts';
import { createSession } from './session.ts';

const [width, outputs, tokens] = [768, 40, 6];
const random = new Random(9);
const weight = Float32Array.from({ length: outputs * width }, () => random.gaussian() / 20);
const x = Float32Array.from({ length: tokens * width }, () => random.gaussian() * (random.uniform() < 0.02 ? 20 : 1) + 0.3);

function linear(values: Float32Array): Graph {
  const b = new GraphBuilder('linear');
  const input = b.input('x', 'f32', ['B', 'T', width]);
  const constant = b.constant('a.weight', { type: 'f32', dims: [outputs, width], bytes: bytesOf(values) });
  b.output('y', b.matmul(input, b.transpose(constant, 1, 0), { name: 'a' }), 'f32', ['B', 'T', outputs]);
  return b.build();
}

async function run(graph: Graph, runtime: Backend, values = x): Promise<Float32Array> {
  const session = await createSession(graph, { threads: 1, runtime });
  const { y } = await session.run({ x: { type: 'f32', dims: [2, tokens / 2, width], data: values } });
  await session.close();
  return y!.data as Float32Array;
}

/** Weights per row as signed codes, and what they stand for. */
function weightsOf(symmetric: boolean): { weight: IntegerLinear['weight']; dequantized: Float32Array } {
  const { tile, dequantized } = quantizeMatrix(weight, [outputs, width], {
    kind: 'integer',
    bits: 8,
    symmetric,
    signed: true,
    granularity: 'channel',
    range: symmetric ? 'absmax-half' : 'minmax',
    scaleType: 'f32',
  });
  const codes = Int8Array.from(tile.codes, (c) => c - 128);
  const zero = tile.zero?.levels.values;
  return { weight: { codes, scale: tile.scale!.values, ...(zero && { zero }) }, dequantized: dequantized() };
}

const per = (per: 'token' | 'tensor', symmetric: boolean): ActivationScheme => ({ bits: 8, symmetric, dynamic: true, per });
const fixed: ActivationScheme = { bits: 8, symmetric: false, dynamic: false, per: 'tensor', range: { min: [-3], max: [5] } };

const runtimes = await loadRuntime({ runtime: 'native' }).then(
  (): Backend[] => ['native', 'wasm'],
  (): Backend[] => ['wasm'],
);

describe.each(runtimes)('on %s', (runtime) => {
  test.each([
    ['symmetric per token', per('token', true), true],
    ['asymmetric per token', per('token', false), true],
    ['asymmetric per token, weights with zeros', per('token', false), false],
    ['symmetric per tensor, weights with zeros', per('tensor', true), false],
    ['static asymmetric per tensor', fixed, true],
    ['4 bits per token', { ...per('token', false), bits: 4 }, true],
  ] as const)('%s: integers give what the simulation gives', async (_, input, symmetric) => {
    const { weight: integers, dequantized } = weightsOf(symmetric);
    const simulated = await run(quantizeInputs(linear(dequantized), new Map([['a', input]])), runtime);
    const graph = integerLinears(linear(dequantized), new Map([['a', { weight: integers, input }]]));
    expect(graph.constants.has('a.weight')).toBe(false);
    const computed = await run(graph, runtime);
    const most = Math.max(...simulated.map((v) => Math.abs(v)));
    const furthest = Math.max(...computed.map((v, i) => Math.abs(v - simulated[i]!)));
    // Integer sums are exact; the simulation adds 768 rounded products.
    expect(furthest / most).toBeLessThan(2e-6);
    const plain = await run(linear(weight), runtime);
    expect(Math.max(...plain.map((v, i) => Math.abs(v - simulated[i]!))) / most).toBeGreaterThan(1e-3);
  });

  test('the largest products do not saturate', async () => {
    const codes = Int8Array.from({ length: outputs * width }, (_, i) => (Math.floor(i / width) % 2 ? 127 : -128));
    const integers = { codes, scale: new Float32Array(outputs).fill(1) };
    const input: ActivationScheme = { ...fixed, symmetric: true, range: { min: [-127.5], max: [127.5] } };
    const graph = integerLinears(linear(weight), new Map([['a', { weight: integers, input }]]));
    const high = await run(graph, runtime, new Float32Array(x.length).fill(127));
    expect([high[0], high[1]]).toEqual([127 * -128 * width, 127 * 127 * width]);
    const low = await run(graph, runtime, new Float32Array(x.length).fill(-128));
    expect([low[0], low[1]]).toEqual([128 * 128 * width, -128 * 127 * width]);
  });
});

test('what cannot be computed in integers is refused', () => {
  const { weight: integers } = weightsOf(true);
  const of = (input: ActivationScheme, weight = integers) => integerLinears(linear(x), new Map([['a', { weight, input }]]));
  expect(() => of({ ...per('token', true), per: { group: 64 } })).toThrow(RecipeError);
  expect(() => of({ ...per('token', true), float: 'e4m3' })).toThrow(/need inputs of integers/);
  expect(() => of(per('token', true), { ...integers, scale: new Float32Array(3) })).toThrow(ModelError);
  expect(() => integerLinears(linear(weight), new Map([['b', { weight: integers, input: per('token', true) }]]))).toThrow(
    /no such linear/,
  );
});
