import { describe, expect, it } from 'vitest';
import { encodeMinifloatArray, minifloats } from '../numeric/minifloat.ts';
import type { Levels, QuantizedTile, Sharing } from '../quantized/types.ts';
import { compareValues, dequantizeTile, effectiveBits, errorOf, sharedCount, spreadRow } from './index.ts';

const whole: Sharing = { rows: 0, cols: 0 };
const one = (values: number[] = [1], per = whole): Levels => ({ values: Float32Array.from(values), stored: 'f32', per });

function tileOf(parts: Partial<QuantizedTile> & Pick<QuantizedTile, 'codes' | 'grid'>): QuantizedTile {
  return { name: 'w', shape: [2, 4], from: 0, to: 2, scale: one(), ...parts };
}

describe('spreads shared values over rows', () => {
  const spread = (per: Sharing, rows: { from: number; to: number; cols: number }) => {
    const values = Float32Array.from({ length: sharedCount(per, rows) }, (_, i) => i);
    const out = new Float32Array(rows.cols);
    return Array.from({ length: rows.to - rows.from }, (_, r) => {
      spreadRow(values, per, rows, rows.from + r, out);
      return out.join('');
    });
  };

  it('rectangles, also when the tile starts inside of one', () => {
    expect(spread(whole, { from: 0, to: 2, cols: 4 })).toEqual(['0000', '0000']);
    expect(spread({ rows: 1, cols: 0 }, { from: 3, to: 5, cols: 4 })).toEqual(['0000', '1111']);
    expect(spread({ rows: 1, cols: 2 }, { from: 0, to: 2, cols: 4 })).toEqual(['0011', '2233']);
    expect(spread({ rows: 2, cols: 3 }, { from: 1, to: 4, cols: 5 })).toEqual(['00011', '22233', '22233']);
    expect(spread({ rows: 0, cols: 2 }, { from: 0, to: 2, cols: 4 })).toEqual(['0011', '0011']);
  });

  it('runs of the flattened matrix cross rows', () => {
    expect(spread({ flat: 3 }, { from: 0, to: 2, cols: 5 })).toEqual(['00011', '12223']);
    expect(spread({ flat: 3 }, { from: 1, to: 2, cols: 5 })).toEqual(['01112']);
    expect(spread({ flat: 100 }, { from: 0, to: 2, cols: 5 })).toEqual(['00000', '00000']);
  });

  it('groups in activation order', () => {
    expect(spread({ groupOf: Int32Array.of(1, 0, 2, 0) }, { from: 0, to: 2, cols: 4 })).toEqual(['1020', '4353']);
  });
});

describe('decodes', () => {
  const codes = Uint8Array.of(0, 1, 2, 3, 3, 2, 1, 0);

  it('integers with every kind of zero', () => {
    const grid = { kind: 'integer', bits: 2, signed: false } as const;
    const scale = one([2, 10], { rows: 1, cols: 0 });
    expect([...dequantizeTile(tileOf({ codes, grid, scale }))]).toEqual([0, 2, 4, 6, 30, 20, 10, 0]);
    const zero = (kind: 'integer' | 'float' | 'minimum', value: number) => ({ kind, levels: one([value]) });
    expect([...dequantizeTile(tileOf({ codes, grid, scale, zero: zero('integer', 1) }))]).toEqual([-2, 0, 2, 4, 20, 10, 0, -10]);
    expect([...dequantizeTile(tileOf({ codes, grid, scale, zero: zero('float', 0.5) }))]).toEqual([-1, 1, 3, 5, 25, 15, 5, -5]);
    expect([...dequantizeTile(tileOf({ codes, grid, scale, zero: zero('minimum', -1) }))]).toEqual([-1, 1, 3, 5, 29, 19, 9, -1]);
    const signed = { ...grid, signed: true };
    expect([...dequantizeTile(tileOf({ codes, grid: signed }))]).toEqual([-2, -1, 0, 1, 1, 0, -1, -2]);
    expect([...dequantizeTile(tileOf({ codes, grid: signed, columnScale: Float32Array.of(1, 2, 3, 4) }))]).toEqual([
      -2, -2, 0, 4, 1, 0, -3, -8,
    ]);
  });

  it('minifloats', () => {
    const x = Float32Array.of(0.5, -6, 1.5, 3, 0, 4, 2, -1);
    const e2m1 = encodeMinifloatArray(minifloats.e2m1, x, new Uint8Array(8));
    const tile = tileOf({ codes: e2m1, grid: { kind: 'minifloat', format: 'e2m1' } });
    expect(dequantizeTile(tile)).toEqual(x);
    expect(effectiveBits(tile)).toBe(4 + 32 / 8);
    expect(errorOf(x, tile)).toMatchObject({ mse: 0, clipped: 0, sqnr: Infinity, maxError: 0, unusedCodes: 8 });
  });

  it('codebooks: one list, a book a row, vectors', () => {
    const list = { kind: 'codebook', values: Float32Array.of(-1, -0.25, 0.25, 1), dim: 1, per: whole } as const;
    expect([...dequantizeTile(tileOf({ codes, grid: list }))]).toEqual([-1, -0.25, 0.25, 1, 1, 0.25, -0.25, -1]);
    const books = Float32Array.of(0, 1, 2, 3, 10, 11, 12, 13);
    const perRow = { kind: 'codebook', values: books, dim: 1, per: { rows: 1, cols: 0 } } as const;
    const tile = tileOf({ codes, grid: perRow });
    expect([...dequantizeTile(tile)]).toEqual([0, 1, 2, 3, 13, 12, 11, 10]);
    expect(effectiveBits(tile)).toBe(2 + 32 / 8);
    const vectors = { kind: 'codebook', values: books, dim: 2, per: whole } as const;
    expect([...dequantizeTile(tileOf({ codes: Uint8Array.of(0, 3, 2, 1), grid: vectors }))]).toEqual([
      0, 1, 12, 13, 10, 11, 2, 3,
    ]);
  });

  it('what is kept apart', () => {
    const grid = { kind: 'integer', bits: 2, signed: false } as const;
    const tile = tileOf({
      codes,
      grid,
      columns: { index: Int32Array.of(1), value: Float32Array.of(7, 8), stored: 'f16' },
      lowRank: { a: Float32Array.of(1, 2), b: Float32Array.of(0, 0, 0.5, 0) },
      sparse: { row: Int32Array.of(1), col: Int32Array.of(3), value: Float32Array.of(99), stored: 'f16' },
    });
    expect([...dequantizeTile(tile)]).toEqual([0, 7, 2.5, 3, 3, 8, 2, 99]);
  });

  it('refuses encoded blocks', () => {
    const tile = tileOf({ codes, grid: { kind: 'opaque', type: 'iq2_xs' } });
    expect(() => dequantizeTile(tile)).toThrow(/w: encoded blocks are decoded by their kernel/);
    const { scale: _, ...blocks } = tile;
    expect(effectiveBits({ ...blocks, codes: new Uint8Array(2) })).toBe(2);
  });
});

it('compares values', () => {
  expect(compareValues(Float32Array.of(3, 4), Float32Array.of(3, 4))).toMatchObject({ sqnr: Infinity, maxError: 0 });
  const off = compareValues(Float32Array.of(3, 4), Float32Array.of(4, 3));
  expect(off).toMatchObject({ values: 2, mse: 1, maxError: 1 });
  expect(off.cosine).toBeCloseTo(24 / 25, 12);
  expect(off.sqnr).toBeCloseTo(10 * Math.log10(12.5), 12);
  expect(compareValues(new Float32Array(2), new Float32Array(2)).cosine).toBe(1);
  expect(compareValues(Float32Array.of(1), Float32Array.of(0)).cosine).toBe(0);
  expect(compareValues(Float32Array.of(1, 1), Float32Array.of(NaN, 1)).maxError).toBeNaN();
});
