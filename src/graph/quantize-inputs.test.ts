/** Fake quantization in the graph against the same written in TypeScript, value by value. */
import { describe, expect, test } from 'vitest';
import { ModelError, NumericError, RecipeError } from '../errors.ts';
import type { ModelSpec } from '../model/types.ts';
import { decodeMinifloat, encodeMinifloat, minifloats } from '../numeric/minifloat.ts';
import { Random } from '../numeric/random.ts';
import { halfEven } from '../numeric/rounding.ts';
import { fakeQuantize, largestOf, observedActivations, observerOf, staticActivations, staticLevels } from '../quantize/index.ts';
import type { ActivationScheme } from '../quantized/types.ts';
import { GraphBuilder } from './builder.ts';
import { bytesOf, type Graph } from './ir.ts';
import { buildModel } from './model.ts';
import { quantizeInputs } from './quantize-inputs.ts';
import { createSession } from './session.ts';

const { e4m3 } = minifloats;
const width = 16;
const tokens = 12;
const identity = Float32Array.from({ length: width * width }, (_, i) => (i % (width + 1) === 0 ? 1 : 0));

/** Two linears on one input x [2, tokens / 2, width]; with the identity as weight they give what goes in. */
function linears(): Graph {
  const b = new GraphBuilder('linears');
  const dims = ['B', 'T', width] as const;
  const x = b.input('x', 'f32', dims);
  for (const name of ['a', 'b']) {
    const weight = b.constant(`${name}.weight`, { type: 'f32', dims: [width, width], bytes: bytesOf(identity) });
    b.output(`out.${name}`, b.matmul(x, b.transpose(weight, 1, 0), { name }), 'f32', dims);
  }
  return b.build();
}

async function quantized(x: Float32Array, schemes: Record<string, ActivationScheme>): Promise<Record<string, Float32Array>> {
  const session = await createSession(quantizeInputs(linears(), new Map(Object.entries(schemes))), { threads: 1 });
  const outputs = await session.run({ x: { type: 'f32', dims: [2, tokens / 2, width], data: x } });
  await session.close();
  return Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, data as Float32Array]));
}

/** x [tokens, width] as compressed-tensors' calculate_qparams and fake_quantize do it. */
function reference(x: Float32Array, { bits, symmetric, per }: ActivationScheme): Float32Array {
  const granularity = per === 'token' ? 'channel' : (per as 'tensor' | { group: number });
  return fakeQuantize(x, [tokens, width], {
    kind: 'integer',
    bits,
    symmetric,
    signed: true,
    granularity,
    range: symmetric ? 'absmax-half' : 'minmax',
    scaleType: 'f32',
    emptyGroup: 'epsilon',
    arithmetic: { compute: 'f32', zero: 'beforeRounding' },
  }).values;
}

const random = new Random(5);
const x = Float32Array.from({ length: tokens * width }, () => random.gaussian() * (random.uniform() < 0.05 ? 30 : 1));
x.fill(0, 0, width); // a token of zeros
x.fill(3, width, 2 * width); // one of equal values
x.set([-127.5, 0.5, 1.5, 2.5, -0.5, 126.5, 127.5], 2 * width); // ties of a scale of 1
x.fill(0, 2 * width + 7, 3 * width);
for (let i = 3 * width; i < 4 * width; i++) x[i] = Math.abs(x[i]!) + 1; // no sign
for (let i = 4 * width; i < 5 * width; i++) x[i]! *= 1e-42; // subnormal

const dynamic = { dynamic: true } as const;
const int8: ActivationScheme = { ...dynamic, bits: 8, symmetric: true, per: 'token' };

describe.each<[string, ActivationScheme]>([
  ['int8 per token', int8],
  ['asymmetric int8 per token', { ...int8, symmetric: false }],
  ['int4 per token', { ...int8, bits: 4 }],
  ['int8 per tensor', { ...int8, per: 'tensor' }],
  ['asymmetric int8 per tensor', { ...int8, per: 'tensor', symmetric: false }],
  ['int8 in groups of 4', { ...int8, per: { group: 4 } }],
  ['asymmetric int6 in groups of 8', { ...int8, bits: 6, per: { group: 8 }, symmetric: false }],
])('%s', (_, scheme) => {
  test('every value is that of the reference', async () => {
    const { 'out.a': a, 'out.b': b } = await quantized(x, { a: scheme });
    // Comparing numbers: the graph may give -0 where the reference has 0.
    const expected = reference(x, scheme);
    expect([...a!].map((v) => v + 0)).toEqual([...expected].map((v) => v + 0));
    expect(b).toEqual(x);
    if (scheme.per === 'token') expect([...a!.subarray(0, width)].every((v) => v === 0)).toBe(true);
  });
});

test('columns in which any token of the batch has an outlier stay as they are, and widen no scale', async () => {
  const threshold = 6;
  const kept = Array.from({ length: width }, (_, c) =>
    Array.from({ length: tokens }, (_, t) => Math.abs(x[t * width + c]!)).some((v) => v >= threshold),
  );
  // Some columns have their outliers in one of the two sequences only.
  expect(kept.filter(Boolean).length).toBeGreaterThan(3);
  expect(kept.filter((one) => !one).length).toBeGreaterThan(3);
  const rest = x.map((v, i) => (kept[i % width] ? 0 : v));
  const expected = reference(rest, int8).map((v, i) => (kept[i % width] ? x[i]! : v));
  const { 'out.a': a } = await quantized(x, { a: { ...int8, threshold } });
  expect([...a!].map((v) => v + 0)).toEqual([...expected].map((v) => v + 0));
});

const width8 = { min: new Float32Array(width), max: new Float32Array(width) };
for (let c = 0; c < width; c++) {
  const column = Array.from({ length: tokens }, (_, t) => x[t * width + c]!);
  // Narrower than the values, so that some are clipped.
  width8.min[c] = 0.5 * Math.min(...column);
  width8.max[c] = 0.8 * Math.max(...column);
}
width8.min[3] = 0;
width8.max[3] = 0;

describe.each<[string, Parameters<typeof staticActivations>[0]]>([
  ['int8 per tensor', { bits: 8, symmetric: true, per: 'tensor' }],
  ['asymmetric int8 per tensor', { bits: 8, symmetric: false, per: 'tensor' }],
  ['asymmetric int4 per channel', { bits: 4, symmetric: false, per: 'channel' }],
  ['int2 per channel', { bits: 2, symmetric: true, per: 'channel' }],
  ['asymmetric int6 in groups of 4', { bits: 6, symmetric: false, per: { group: 4 } }],
  ['e4m3 per tensor', { bits: 8, float: 'e4m3', symmetric: true, per: 'tensor' }],
])('static %s', (_, base) => {
  test('every value is that of the formula', async () => {
    const scheme = staticActivations(base, width8);
    const { scale, zero } = staticLevels(scheme);
    const { 'out.a': a } = await quantized(x, { a: scheme });
    const run = width / scale.length;
    const half = 2 ** (base.bits - 1);
    const expected = x.map((value, i) => {
      const g = Math.floor((i % width) / run);
      const q = Math.fround(value / scale[g]!);
      if (base.float) return Math.fround(decodeMinifloat(e4m3, encodeMinifloat(e4m3, q, { saturate: true })) * scale[g]!);
      const code = Math.max(-half, Math.min(halfEven(Math.fround(q + zero[g]!)), half - 1));
      return (code - zero[g]!) * scale[g]!;
    });
    expect([...a!].map((v) => v + 0)).toEqual([...expected].map((v) => v + 0));
    expect(new Set(a).size).toBeGreaterThan(3);
  });
});

describe.each(['e4m3', 'e5m2', 'e2m1'] as const)('dynamic %s per token', (float) => {
  test('every value is that of the encoder', async () => {
    const format = minifloats[float];
    const { 'out.a': a } = await quantized(x, { a: { ...int8, bits: format.bits, float } });
    const most = largestOf(format);
    const expected = x.map((value, i) => {
      const row = x.subarray(i - (i % width), i - (i % width) + width);
      const scale = Math.fround(row.reduce((m, v) => Math.max(m, Math.abs(v)), 0) / most) || 2 ** -23;
      return decodeMinifloat(format, encodeMinifloat(format, Math.fround(value / scale), { saturate: true })) * scale;
    });
    expect([...a!].map((v) => v + 0)).toEqual([...expected].map((v) => v + 0));
  });
});

test('an observer gives a static scheme', async () => {
  const observer = observerOf('minmax');
  observer.observe(x);
  const found = observedActivations({ bits: 8, symmetric: true }, observer);
  const limits = { min: Float32Array.of(Math.min(...x)), max: Float32Array.of(Math.max(...x)) };
  expect(found).toEqual(staticActivations({ bits: 8, symmetric: true, per: 'tensor' }, limits));
  const { 'out.a': fixed } = await quantized(x, { a: found });
  const { 'out.a': dynamic } = await quantized(x, { a: { ...int8, per: 'tensor' } });
  expect(fixed).toEqual(dynamic);
  expect(() => observedActivations({ bits: 8, symmetric: true }, observerOf('minmax'))).toThrow(NumericError);
});

test('a scale of 1 rounds ties to even and clips to -128..127', async () => {
  const { 'out.a': a } = await quantized(x, { a: int8 });
  expect([...a!.subarray(2 * width, 2 * width + 7)].map((v) => v + 0)).toEqual([-128, 0, 2, 2, 0, 126, 127]);
});

const tiny: ModelSpec = {
  architecture: 'llama',
  hidden: 8,
  intermediate: 12,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 4,
  vocab: 10,
  context: 64,
  normEpsilon: 1e-6,
  rope: { dims: 4, base: 10000, scaling: { kind: 'none' } },
  tied: true,
  bias: { q: false, k: false, v: false, o: false, gate: false, up: false, down: false },
  qkNorm: false,
  window: [undefined, undefined],
};

describe('the graph', () => {
  const schemes = (names: string[], scheme = int8) => new Map(names.map((name) => [name, scheme]));

  test('linears with one input and two ranges do not share the nodes', async () => {
    const of = (max: number): ActivationScheme => ({ ...int8, dynamic: false, per: 'tensor', range: { min: [0], max: [max] } });
    const { 'out.a': a, 'out.b': b } = await quantized(x, { a: of(1), b: of(2) });
    expect([Math.max(...a!), Math.max(...b!)].map((v) => Math.round(100 * v))).toEqual([100, 199]);
  });

  test('linears with one input and one scheme share the nodes', () => {
    const graph = linears();
    const extra = (s: Map<string, ActivationScheme>) => quantizeInputs(graph, s).nodes.length - graph.nodes.length;
    const alone = extra(schemes(['a']));
    expect(extra(schemes(['a', 'b']))).toBe(alone);
    expect(extra(new Map([...schemes(['a']), ...schemes(['b'], { ...int8, bits: 4 })]))).toBe(2 * alone);
    expect(quantizeInputs(graph, new Map())).toEqual(graph);
  });

  test.each([['loss'], ['logits'], ['logits', 'hidden']] as const)('all linears of a model with %s', (...outputs) => {
    const graph = buildModel(tiny, { outputs, cache: outputs[0] === 'logits' });
    const names = graph.inputs.flatMap(({ name, weight }) => (weight && /_proj\.weight$/.test(name) ? [name.slice(0, -7)] : []));
    expect(names).toHaveLength(14);
    const { nodes } = quantizeInputs(graph, schemes([...names, 'model.embed_tokens']));
    // q, k, v share one; o one; gate, up one; down one; the head one.
    expect(nodes.filter(({ op }) => op === 'Round')).toHaveLength(2 * 4 + 1);
  });

  test('what cannot be', () => {
    expect(() => quantizeInputs(linears(), schemes(['c']))).toThrow(ModelError);
    const range = { min: [-1], max: [1] };
    for (const wrong of [
      { dynamic: false },
      { per: 'channel' },
      { bits: 9 },
      { per: { group: 3 } },
      { range },
      { dynamic: false, range },
      { dynamic: false, per: 'channel', range },
      { dynamic: false, per: 'tensor', range: { min: [1], max: [-1] } },
      { float: 'e4m3', symmetric: false },
      { float: 'e4m3', bits: 4 },
      { float: 'e9m9' },
    ] as Partial<ActivationScheme>[])
      expect(() => quantizeInputs(linears(), schemes(['a'], { ...int8, ...wrong }))).toThrow(RecipeError);
  });
});
