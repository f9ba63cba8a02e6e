import { describe, expect, it } from 'vitest';
import { NumericError, RecipeError } from '../errors.ts';
import { Random } from '../numeric/random.ts';
import {
  dequantizeTile,
  describeRange,
  effectiveBits,
  errorOf,
  fakeQuantize,
  quantizeMatrix,
  quantizeRows,
  surveyLimits,
} from './index.ts';
import type { MatrixScheme } from './scheme.ts';

const int4: MatrixScheme = {
  kind: 'integer',
  bits: 4,
  symmetric: true,
  granularity: 'channel',
  range: 'absmax-narrow',
  scaleType: 'f32',
};
const uint4: MatrixScheme = { ...int4, symmetric: false, range: 'minmax' };

function gaussians(n: number, seed = 1): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: n }, () => random.gaussian());
}

describe('numbers worked out by hand', () => {
  const vector = Float32Array.of(0.15, -0.32, 0.87, -1.23, 2.45);

  it('five values at 4 bits', () => {
    const symmetric = fakeQuantize(vector, [1, 5], int4);
    expect(symmetric.error.mse).toBeCloseTo(0.01624, 5);
    const asymmetric = fakeQuantize(vector, [1, 5], uint4);
    expect(asymmetric.error.mse).toBeCloseTo(0.005416, 6);
    const { tile } = quantizeMatrix(vector, [1, 5], int4);
    expect([...tile.codes]).toEqual([8, 7, 10, 4, 15]); // 0, -1, 2, -4, 7
    expect(tile.scale!.values[0]).toBe(Math.fround(Math.fround(2.45) / 7));
  });

  it('float and integer zero of [-0.5, 0.5] at 8 bits', () => {
    const x = Float32Array.of(-0.5, 0.5, 0.12345678);
    const scheme: MatrixScheme = { ...uint4, bits: 8 };
    const float = quantizeMatrix(x, [1, 3], { ...scheme, zero: 'float' });
    expect(float.tile.codes[2]).toBe(159);
    expect(float.tile.zero!.levels.values[0]).toBe(127.5);
    expect(float.dequantized()[2]).toBeCloseTo(0.12353, 5);
    const integer = quantizeMatrix(x, [1, 3], scheme);
    expect(integer.tile.zero!.levels.values[0]).toBe(128);
    expect(integer.dequantized()[2]).toBeCloseTo(0.12157, 5);
    const minimum = quantizeMatrix(x, [1, 3], { ...scheme, zero: 'minimum' });
    expect(minimum.tile.codes[2]).toBe(159);
    expect(minimum.tile.zero!.levels.values[0]).toBe(-0.5);
    expect(minimum.dequantized()[2]).toBeCloseTo(0.12353, 5);
  });

  it('each symmetric range at 3 bits of the extremes -8 and 7', () => {
    const x = Float32Array.of(-8, 7);
    const scale = (range: MatrixScheme['range']) => quantizeMatrix(x, [1, 2], { ...int4, bits: 3, range }).tile.scale!.values[0];
    expect(scale('absmax-narrow')).toBe(Math.fround(8 / 3));
    expect(scale('absmax-full')).toBe(2);
    expect(scale('absmax-half')).toBe(Math.fround(8 / 3.5));
    expect(scale('absmax-gptq')).toBe(Math.fround(16 / 7));
    expect(scale('signed-extreme')).toBe(2);
    expect(quantizeMatrix(Float32Array.of(8, 1), [1, 2], { ...int4, range: 'signed-extreme' }).tile.scale!.values[0]).toBe(-1);
  });
});

describe.each([1, 2, 3, 4, 5, 6, 7, 8])('%d bits', (bits) => {
  const x = gaussians(6 * 64, bits);
  const schemes: MatrixScheme[] = (['integer', 'float', 'minimum'] as const).flatMap((zero) => [
    { ...uint4, bits, zero, granularity: { group: 32 } },
    { ...uint4, bits, zero, signed: true, scaleType: zero === 'integer' ? 'f16' : 'f32' },
  ]);
  if (bits > 1) schemes.push({ ...int4, bits, granularity: 'tensor' });
  schemes.push({ ...int4, bits, range: 'absmax-half', granularity: { group: 16 } }, { ...int4, bits, range: 'absmax-full' });

  it('is at most half a step off inside the range of the codes', () => {
    for (const scheme of schemes) {
      const { tile, dequantized } = quantizeMatrix(x, [6, 64], scheme);
      const decoded = dequantized();
      const run = typeof scheme.granularity === 'object' ? scheme.granularity.group : 64;
      const { qMin, qMax } = tile.grid.kind === 'integer' && tile.grid.signed ? signed(bits) : { qMin: 0, qMax: 2 ** bits - 1 };
      for (let i = 0; i < x.length; i++) {
        const shared = scheme.granularity === 'tensor' ? 0 : Math.floor(i / run);
        const s = tile.scale!.values[shared]!;
        const z = tile.zero?.levels.values[shared] ?? 0;
        const at = (q: number) => (tile.zero?.kind === 'minimum' ? s * q + z : s * (q - z));
        if (x[i]! < at(qMin) || x[i]! > at(qMax)) continue;
        expect(Math.abs(x[i]! - decoded[i]!)).toBeLessThanOrEqual(s / 2 + 8e-7 * (Math.abs(x[i]!) + s * 2 ** bits));
      }
    }
  });

  it('splits the squared error without a rest', () => {
    for (const scheme of schemes) {
      const error = fakeQuantize(x, [6, 64], scheme).error;
      expect((error.roundingError + error.clippingError) / x.length).toBeCloseTo(error.mse, 12);
      expect(error.clipped === 0).toBe(error.clippingError === 0);
      expect(error.unusedCodes).toBeLessThan(2 ** bits);
    }
  });
});

const signed = (bits: number) => ({ qMin: -(2 ** (bits - 1)), qMax: 2 ** (bits - 1) - 1 });

describe('tiles', () => {
  const x = gaussians(8 * 96);
  it.each<MatrixScheme>([
    int4,
    { ...uint4, granularity: { group: 32 } },
    { ...int4, granularity: 'tensor' },
    { ...uint4, granularity: 'tensor', range: 'percentile', rangeOptions: { percentile: 99 } },
  ])('give the codes of the whole matrix: $granularity $range', (scheme) => {
    const whole = quantizeMatrix(x, [8, 96], scheme).tile;
    const survey = surveyLimits(x, scheme);
    const place = { name: 'w', shape: [8, 96] as const, survey };
    const tiles = [0, 3, 5].map((from, i) => {
      const to = [3, 5, 8][i]!;
      return quantizeRows(x.subarray(from * 96, to * 96), { ...place, from, to }, scheme);
    });
    expect(tiles.flatMap((tile) => [...tile.codes])).toEqual([...whole.codes]);
    expect(tiles.flatMap((tile) => [...dequantizeTile(tile)])).toEqual([...dequantizeTile(whole)]);
  });

  it('count every stored bit', () => {
    const bits = (scheme: MatrixScheme) => quantizeMatrix(x, [8, 96], scheme).effectiveBits;
    expect(bits({ ...int4, granularity: { group: 32 }, scaleType: 'f16' })).toBe(4.5);
    expect(bits({ ...uint4, granularity: { group: 32 }, scaleType: 'f16' })).toBe(4 + 20 / 32);
    expect(bits({ ...uint4, granularity: { group: 32 }, zero: 'float' })).toBe(4 + 64 / 32);
    expect(bits({ ...int4, granularity: 'tensor' })).toBe(4 + 32 / 768);
    expect(effectiveBits({ ...quantizeMatrix(x, [8, 96], int4).tile, from: 0, to: 0 })).toBe(0);
  });
});

describe('groups without a step', () => {
  const zeros = new Float32Array(4);
  it.each(['one', 'epsilon', 'zero', 'unit'] as const)('all zeros stay zeros: %s', (emptyGroup) => {
    for (const scheme of [int4, uint4, { ...uint4, signed: true }, { ...int4, signed: false }]) {
      expect(fakeQuantize(zeros, [1, 4], { ...scheme, emptyGroup }).values).toEqual(zeros);
    }
  });

  it('equal values are exact with a float zero or a minimum', () => {
    const x = new Float32Array(4).fill(5);
    expect(fakeQuantize(x, [1, 4], { ...uint4, zero: 'minimum' }).values).toEqual(x);
    expect(fakeQuantize(x, [1, 4], { ...uint4, zero: 'float' }).values).toEqual(x);
  });

  it('a scale below the smallest f16 counts as none', () => {
    const x = new Float32Array(4).fill(1e-9);
    const { tile, dequantized } = quantizeMatrix(x, [1, 4], { ...int4, scaleType: 'f16' });
    expect(tile.scale!.values[0]).toBe(1);
    expect(dequantized()).toEqual(zeros);
  });

  it('f32 subnormals have no reciprocal and become zeros', () => {
    const x = new Float32Array(4).fill(1e-40);
    const arithmetic = { compute: 'f32', divide: 'reciprocal' } as const;
    expect(fakeQuantize(x, [1, 4], { ...int4, arithmetic }).values).toEqual(zeros);
    expect(fakeQuantize(x, [1, 4], int4).error.maxError).toBeLessThan(1e-41);
  });
});

describe('clipping ranges', () => {
  const x = gaussians(4096);
  x[17] = 40;

  it('mse finds a smaller error than the extremes', () => {
    for (const scheme of [int4, uint4]) {
      const plain = fakeQuantize(x, [1, 4096], scheme).error;
      const searched = fakeQuantize(x, [1, 4096], { ...scheme, range: 'mse' }).error;
      expect(searched.mse).toBeLessThan(plain.mse / 2);
      expect(searched.clipped).toBeGreaterThan(0);
      expect(searched.clippingError).toBeGreaterThan(searched.roundingError / 100);
    }
  });

  it('percentile leaves its share outside', () => {
    const scheme: MatrixScheme = { ...uint4, bits: 8, zero: 'float', range: 'percentile', rangeOptions: { percentile: 98 } };
    const { clipped } = fakeQuantize(x, [1, 4096], scheme).error;
    expect(clipped).toBeGreaterThanOrEqual(78);
    expect(clipped).toBeLessThanOrEqual(82);
    const all = { ...scheme, rangeOptions: { percentile: 100 } };
    expect(fakeQuantize(x, [1, 4096], all).values).toEqual(fakeQuantize(x, [1, 4096], { ...all, range: 'minmax' }).values);
    expect(() => surveyLimits(x, { ...scheme, rangeOptions: { percentile: 0 } })).toThrow(/not a percentile/);
  });

  it('say what they do', () => {
    expect(describeRange({ ...int4, range: 'mse' })).toBe(
      'limits r min, r max with the r of least Σ|x - x̂|^2, r in {1, 0.99, ..., 0.21}; s = absmax / (2^(b-1) - 1), codes ±(2^(b-1) - 1)',
    );
    expect(describeRange({ ...uint4, range: 'percentile' })).toMatch(
      /^min, max = the 0\.05 % and 99.95 % quantiles; s = \(max - min\)/,
    );
  });
});

describe('arithmetic', () => {
  const x = gaussians(32 * 32, 4);
  const codes = (arithmetic?: MatrixScheme['arithmetic']) => [
    ...quantizeMatrix(x, [32, 32], { ...int4, bits: 8, ...(arithmetic && { arithmetic }) }).tile.codes,
  ];
  const differing = (a: number[], b: number[]) => a.filter((code, i) => code !== b[i]).length;

  it('changes codes only where it says', () => {
    const plain = codes();
    expect(differing(plain, codes({ compute: 'f32' }))).toBeLessThan(3);
    expect(differing(plain, codes({ divide: 'reciprocal' }))).toBeLessThan(3);
    expect(differing(plain, codes({ compute: 'bf16' }))).toBeGreaterThan(20);
    const truncated = codes({ rounding: 'trunc' });
    expect(truncated.every((code, i) => Math.abs(code - 128) <= Math.abs(plain[i]! - 128))).toBe(true);
  });

  it('names ties', () => {
    const ties = Float32Array.of(7, 0.5, 1.5, -0.5, -2.5);
    const row = (rounding: 'halfEven' | 'halfAway' | 'trunc') =>
      [...quantizeMatrix(ties, [1, 5], { ...int4, arithmetic: { rounding } }).tile.codes].map((code) => code - 8);
    expect(row('halfEven')).toEqual([7, 0, 2, 0, -2]);
    expect(row('halfAway')).toEqual([7, 1, 2, -1, -3]);
    expect(row('trunc')).toEqual([7, 0, 1, 0, -2]);
  });

  it('computes codes with the scale before or after its cast', () => {
    const scheme: MatrixScheme = { ...int4, bits: 8, scaleType: 'bf16' };
    const after = quantizeMatrix(x, [32, 32], scheme).tile;
    const before = quantizeMatrix(x, [32, 32], { ...scheme, arithmetic: { scale: 'beforeCast' } }).tile;
    expect(before.scale!.values).toEqual(after.scale!.values);
    expect(errorOf(x, after).mse).toBeLessThan(errorOf(x, before).mse);
  });
});

describe('refuses', () => {
  const x = new Float32Array(64).fill(1);
  const attempt =
    (scheme: Partial<MatrixScheme>, values = x) =>
    () =>
      quantizeMatrix(values, [2, 32], { ...int4, ...scheme } as MatrixScheme, 'blk.0.w');

  it('NaN and infinities, with place and count', () => {
    const bad = x.slice();
    bad[37] = NaN;
    bad[40] = -Infinity;
    expect(attempt({}, bad)).toThrow(NumericError);
    expect(attempt({}, bad)).toThrow(/^blk\.0\.w: 2 of 64 values are NaN or infinite, the first at row 1, column 5 \(got NaN\)/);
  });

  it('a scale that overflows f16, with the name of the tensor', () => {
    const big = x.map((v) => v * 1e6);
    expect(attempt({ scaleType: 'f16' }, big)).toThrow(
      /^blk\.0\.w, row 0, columns 0 to 31: the scale of a group overflows f16 .*limit 65504/,
    );
    expect(attempt({ arithmetic: { compute: 'f16' } }, big)).toThrow(/blk\.0\.w: a value overflows f16/);
    const wide = Float32Array.from({ length: 64 }, (_, i) => (i % 2 ? 3e38 : -3e38));
    expect(attempt({ symmetric: false, range: 'minmax', arithmetic: { compute: 'f32' } }, wide)).toThrow(
      /the scale of a group overflows f32/,
    );
  });

  it('groups that do not fill a row, naming those that do', () => {
    expect(attempt({ granularity: { group: 24 } })).toThrow(RecipeError);
    expect(attempt({ granularity: { group: 24 } })).toThrow(
      /rows of 32 values do not split into groups of 24; choose a group of 16, 8, granularity channel/,
    );
    expect(attempt({ granularity: { group: 0 } })).toThrow(/not a group size/);
    expect(attempt({ granularity: { group: 128 } })).toThrow(/choose a group of 32, 16, 8/);
  });

  it('contradictions', () => {
    expect(attempt({ range: 'minmax' })).toThrow(/minmax is asymmetric, the scheme is symmetric; choose absmax-narrow/);
    expect(attempt({ symmetric: false })).toThrow(/absmax-narrow is symmetric, the scheme is asymmetric; choose minmax/);
    expect(attempt({ range: 'toString' as 'mse' })).toThrow(/no such range/);
    expect(attempt({ bits: 9 })).toThrow(/1\.\.8 bits/);
    expect(attempt({ bits: 1 })).toThrow(/no step at 1 bit/);
    expect(attempt({ zero: 'float' })).toThrow(/has no zero/);
    expect(attempt({}, new Float32Array(63))).toThrow(/do not fill the rows \(got 63, limit 64\)/);
    const place = { name: 'w', shape: [4, 32] as const, from: 0, to: 2 };
    expect(() => quantizeRows(x, place, { ...int4, granularity: 'tensor' })).toThrow(/limits of the whole tensor/);
  });
});

it('takes matrices without rows or columns', () => {
  expect(quantizeMatrix(new Float32Array(0), [0, 32], int4).tile.codes.length).toBe(0);
  expect(quantizeMatrix(new Float32Array(0), [4, 0], { ...int4, granularity: 'tensor' }).dequantized().length).toBe(0);
});
