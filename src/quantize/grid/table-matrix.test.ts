import { describe, expect, it } from 'vitest';
import { Random } from '../../numeric/random.ts';
import { compareValues, dequantizeTile, errorOf } from '../index.ts';
import { doubleQuantize, nestedValues } from './nested-levels.ts';
import { bitsandbytes, quantizeToTable, type TableOptions } from './table-matrix.ts';

const gaussian = (n: number, seed: number) => {
  const random = new Random(seed);
  return Float32Array.from({ length: n }, () => 0.02 * random.gaussian());
};
const place = (rows: number, cols: number, from = 0, to = rows) => ({ name: 'w', shape: [rows, cols] as const, from, to });
const x = gaussian(64 * 96, 3);
const sqnr = (options: TableOptions) => compareValues(x, dequantizeTile(quantizeToTable(x, place(64, 96), options))).sqnr;

const positiveZero = (value: number) => value + 0;

describe.each(['nf4', 'fp4', 'e2m1', 'e2m3', 'e3m2', 'e4m3', 'e5m2', 'ternary', [-3, -1, 0, 2, 7]] as const)('%s', (grid) => {
  it('codes are the nearest of the values under the stored scale, nothing beyond absmax', () => {
    for (const granularity of ['tensor', 'channel', { group: 32 }, { flat: 80 }] as const) {
      const tile = quantizeToTable(x, place(64, 96), { grid, granularity, scaleType: 'f16' });
      const decoded = dequantizeTile(tile);
      const { unusedCodes, sqnr } = errorOf(x, tile);
      expect(sqnr).toBeGreaterThan(typeof grid === 'string' && grid !== 'ternary' ? 12 : 0);
      expect(unusedCodes).toBeLessThan(256);
      // Quantizing what was decoded changes nothing.
      const again = quantizeToTable(decoded, place(64, 96), { grid, granularity, scaleType: 'f16' });
      if (typeof grid === 'string') expect(dequantizeTile(again).map(positiveZero)).toEqual(decoded.map(positiveZero));
    }
  });
});

it('known order: NF4 above E2M1 and FP4 on a gaussian, finer runs above coarser, search above absmax', () => {
  const flat = { flat: 64 };
  expect(sqnr({ grid: 'nf4', granularity: flat })).toBeGreaterThan(sqnr({ grid: 'e2m1', granularity: flat }));
  expect(sqnr({ grid: 'e2m1', granularity: flat })).toBeGreaterThan(sqnr({ grid: 'fp4', granularity: flat }));
  expect(sqnr({ grid: 'nf4', granularity: { group: 32 } })).toBeGreaterThan(sqnr({ grid: 'nf4', granularity: 'channel' }) + 0.5);
  for (const grid of ['nf4', 'e2m1', 'ternary'] as const) {
    const searched = sqnr({ grid, granularity: { group: 32 }, range: { search: 20 } });
    expect(searched).toBeGreaterThan(sqnr({ grid, granularity: { group: 32 } }) + 0.3);
  }
});

it('a search with weights lowers the weighted error, also where runs cross rows', () => {
  const weights = Float32Array.from({ length: 96 }, (_, c) => (c % 7 === 0 ? 50 : 1));
  const error = (options: TableOptions) =>
    dequantizeTile(quantizeToTable(x, place(64, 96), options)).reduce(
      (sum, v, i) => sum + weights[i % 96]! * (v - x[i]!) ** 2,
      0,
    );
  for (const granularity of [{ group: 32 }, { flat: 64 }, { flat: 192 }] as const) {
    const plain = error({ grid: 'e2m1', granularity, range: { search: 20 } });
    expect(error({ grid: 'e2m1', granularity, range: { search: 20 }, weights })).toBeLessThan(plain * 0.99);
  }
});

it('tiles give what the whole matrix gives', () => {
  const survey = { min: x.reduce((a, b) => Math.min(a, b)), max: x.reduce((a, b) => Math.max(a, b)) };
  for (const granularity of ['tensor', 'channel', { group: 32 }, { flat: 192 }] as const) {
    const options = { ...bitsandbytes, grid: 'nf4', granularity } as const;
    const all = quantizeToTable(x, place(64, 96), options);
    const part = quantizeToTable(x.subarray(32 * 96), { ...place(64, 96, 32, 64), survey }, options);
    expect(part.codes).toEqual(all.codes.subarray(32 * 96));
    expect(dequantizeTile(part)).toEqual(dequantizeTile(all).subarray(32 * 96));
  }
  const part = place(64, 96, 1, 64);
  expect(() => quantizeToTable(x.subarray(96), part, { grid: 'nf4', granularity: { flat: 64 } })).toThrow(/cut a flat run/);
  expect(() => quantizeToTable(x.subarray(96), part, { grid: 'nf4', granularity: 'tensor' })).toThrow(/survey it/);
  expect(() => quantizeToTable(x, place(64, 96), { grid: 'nf4', granularity: { group: 64 } })).toThrow(/groups of 64/);
  expect(() => quantizeToTable(Float32Array.of(1, NaN), place(1, 2), { grid: 'nf4', granularity: 'channel' })).toThrow(/NaN/);
  expect(() =>
    quantizeToTable(Float32Array.of(1e9), place(1, 1), { grid: 'nf4', granularity: 'channel', scaleType: 'f16' }),
  ).toThrow(/overflows f16/);
});

it('the smallest scales: zeros stay zero, and subnormal values keep their signs', () => {
  const tiny = Float32Array.of(0, 0, 1e-45, -1e-45, 3e-39, -1e-39, 0, 0);
  const tile = quantizeToTable(tiny, place(4, 2), { ...bitsandbytes, grid: 'nf4', granularity: 'channel' });
  expect([...tile.codes]).toEqual([7, 7, 15, 0, 15, 4, 7, 7]);
  expect(dequantizeTile(tile).every(Number.isFinite)).toBe(true);
});

describe('double quantization', () => {
  it('of every kind of consecutive scales; values follow from codes and parents', () => {
    for (const granularity of ['channel', { group: 32 }, { flat: 64 }] as const) {
      const tile = quantizeToTable(x, place(64, 96), { grid: 'nf4', granularity });
      const nested = doubleQuantize(tile, { block: 16 });
      expect(nested.scale!.parent!.values).toHaveLength(Math.ceil(tile.scale!.values.length / 16));
      expect(nestedValues(nested.scale!, { from: 0, to: 64, cols: 96 })).toEqual(nested.scale!.values);
      const { sqnr } = compareValues(tile.scale!.values, nested.scale!.values);
      expect(sqnr).toBeGreaterThan(35);
      expect(nested.codes).toBe(tile.codes);
    }
  });

  it('of tiles with a given offset', () => {
    const options = { grid: 'nf4', granularity: { flat: 64 } } as const;
    const all = doubleQuantize(quantizeToTable(x, place(64, 96), options), { block: 16, offset: 0.05 });
    const lower = quantizeToTable(x.subarray(32 * 96), place(64, 96, 32, 64), options);
    const part = doubleQuantize(lower, { block: 16, offset: 0.05 });
    expect(part.scale!.values).toEqual(all.scale!.values.subarray(48));
    expect(() => doubleQuantize(lower)).toThrow(/looks at all scales/);
  });
});
