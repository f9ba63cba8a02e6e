/**
 * What the methods of the command line do with the matrices of the goldens, beside what the original projects made of them: the same
 * bits lose no more. (That the originals themselves are met bit by bit is tested where their code is: quantize/.)
 */
import { describe, expect, test } from 'vitest';
import { loadKernels } from '../../kernels/index.ts';
import { dequantizeTile } from '../../quantize/index.ts';
import { encodeRows, surveyScheme } from '../../quantize/kinds/encode.ts';
import { feedRows, surveyFed } from '../../quantize/kinds/feed.ts';
import { readMethodGolden } from '../../quantize/method-golden.fixture.node.ts';
import { factorizeHere } from '../../quantize/rounding/factorize.ts';
import { symmetricProductOf } from '../../quantize/rounding/products.ts';
import { refineMath } from '../../quantize/rounding/refine-math.ts';
import type { WeightScheme } from '../../quantize/scheme.ts';
import { methodNamed } from './registry.ts';
import type { MethodOptions } from './types.ts';

type Shape = readonly [rows: number, cols: number];

function schemeOf(name: string, options: Partial<MethodOptions>): WeightScheme {
  const method = methodNamed(name);
  const given = { bits: method.bits[0]!, group: method.group, symmetric: method.symmetric ?? true, ...options };
  const rest = { doubleQuant: false, alpha: 0.5, threshold: 6, kv: false, folded: false };
  return method.scheme!({ ...rest, ...given });
}

/** What nearest codes of the scheme stand for. */
function decoded(w: Float32Array, shape: Shape, scheme: WeightScheme): Float32Array {
  const place = { name: 'w', shape, from: 0, to: shape[0] };
  return dequantizeTile(encodeRows(w, place, scheme, {}, surveyScheme(w, place, scheme, {})));
}

/** Σ |a - b|^p */
function distance(a: Float32Array, b: Float32Array, p = 2): number {
  expect(a).toHaveLength(b.length);
  return a.reduce((sum, value, i) => sum + Math.abs(value - b[i]!) ** p, 0);
}

describe('bitsandbytes 0.50: scales in 16 bits instead of 32', () => {
  const golden = readMethodGolden<{ case: string; input: string; quant_type: string; blocksize: number }>('nf4/nf4_fp4');
  const cases = golden.cases.filter(({ case: name, input, blocksize }) => {
    if (!input.endsWith('_float32') || !golden.has(`${name}.dequantized`)) return false;
    return golden.tensor(input).shape[1]! % blocksize === 0;
  });

  test('there are cases', () => expect(cases.length).toBeGreaterThan(3));

  test.each(cases.map((one) => [one.case, one] as const))('%s', (name, { input, quant_type: type, blocksize: group }) => {
    const { shape, values } = golden.tensor(input);
    const original = distance(values, golden.values(`${name}.dequantized`));
    const doubleQuant = name.endsWith('_dq');
    const ours = decoded(values, shape as unknown as Shape, schemeOf(type, { group, doubleQuant }));
    expect(distance(values, ours)).toBeLessThan(1.002 * original);
  });
});

describe('hqq 0.2.8: scales and zeros in 16 bits instead of 32', () => {
  const golden = readMethodGolden<{ case: string; nbits: number; group_size: number; axis: number; optimize: boolean }>(
    'hqq/weights_64x128',
  );
  const w = golden.values('W');
  const cases = golden.cases.filter(({ axis, optimize }) => axis === 1 && optimize);

  test.each(cases.map((one) => [one.case, one] as const))('%s', (name, { nbits: bits, group_size: group }) => {
    const [codes, scale, zero] = ['codes', 'scale', 'zero'].map((field) => golden.values(`${name}.${field}`));
    const original = w.map((_, i) => {
      const g = Math.floor(i / group);
      return (codes![i]! - zero![g]!) * scale![g]!;
    });
    const ours = decoded(w, [64, 128], schemeOf('hqq', { bits, group }));
    // Half a step of f16 is 2^-11 of a value, a hundredth of a step of 8 bits.
    const room = bits === 8 ? 1.02 : 1;
    expect(distance(w, ours, 0.7)).toBeLessThan(room * distance(w, original, 0.7));
  });
});

describe('ZeroQuant of DeepSpeed', () => {
  const golden = readMethodGolden<{ case: string; quantizer: string; bits: number; group_size: number }>('zeroquant/deepspeed');
  const w = golden.values('W');
  const cases = golden.cases.filter(({ quantizer, group_size: group }) => quantizer === 'sym' && 128 % group === 0);

  test.each(cases.map((one) => [one.case, one] as const))('%s', (name, { bits, group_size: group }) => {
    const ours = decoded(w, [48, 128], schemeOf('zeroquant', { bits, group }));
    expect(distance(w, ours)).toBeLessThan(1.002 * distance(w, golden.values(name)));
  });
});

describe('SpQR', () => {
  interface Case {
    case: string;
    bits: number;
    groupsize: number;
    qq_scale_bits?: number;
    outliers: number;
  }
  const golden = readMethodGolden<Case>('sparse/spqr');
  const [w, x] = [golden.values('W'), golden.values('X')];
  const [rows, cols] = [48, 128];
  const cases = golden.cases.filter(({ qq_scale_bits: nested, outliers }) => nested && outliers > 0);

  test('there are cases', () => expect(cases.length).toBeGreaterThan(0));

  test.each(cases.map((one) => [one.case, one] as const))('%s, with as many outliers', async (name, one) => {
    const kernels = await loadKernels();
    const tokens = x.length / cols;
    const hessian = new Float32Array(cols * cols);
    for (let i = 0; i < cols; i++)
      for (let j = 0; j < cols; j++) {
        let sum = 0;
        for (let t = 0; t < tokens; t++) sum += x[t * cols + i]! * x[t * cols + j]!;
        hessian[i * cols + j] = sum / tokens;
      }
    const scheme: WeightScheme = {
      ...schemeOf('spqr', { bits: one.bits, group: one.groupsize, symmetric: false }),
      split: { sparse: { share: one.outliers / (rows * cols), by: 'sensitivity' } },
      rounding: methodNamed('spqr').rounding!,
    };
    const factor = factorizeHere(kernels, hessian, { damp: 0.01, order: 'activation', name: 'w' });
    if ('fallback' in factor) throw new Error(factor.fallback);
    const meansquare = Float32Array.from({ length: cols }, (_, i) => hessian[i * (cols + 1)]!);
    const damp = (0.01 * meansquare.reduce((a, b) => a + b, 0)) / cols;
    const damped = hessian.map((h, at) => (at % (cols + 1) === 0 ? h + damp : h));
    const place = { name: 'w', shape: [rows, cols] as const, from: 0, to: rows };
    const tools = { kernels, math: refineMath(kernels, symmetricProductOf(kernels)) };
    const inputs = { factor, hessian: damped, meansquare };
    const tile = feedRows(tools, w.slice(), place, scheme, inputs, surveyFed(tools, w.slice(), place, scheme, inputs));
    const outputLoss = (decoded: Float32Array) => {
      let sum = 0;
      for (let r = 0; r < rows; r++)
        for (let t = 0; t < tokens; t++) {
          let dot = 0;
          for (let c = 0; c < cols; c++) dot += (w[r * cols + c]! - decoded[r * cols + c]!) * x[t * cols + c]!;
          sum += dot * dot;
        }
      return sum;
    };
    expect(tile.sparse!.value.length).toBeLessThanOrEqual(one.outliers);
    expect(outputLoss(dequantizeTile(tile))).toBeLessThan(outputLoss(golden.values(`${name}.weight`)));
  });
});
