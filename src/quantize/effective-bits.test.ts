import { describe, expect, it } from 'vitest';
import type { Sharing } from '../quantized/types.ts';
import { effectiveBitsOf, formOf, type LevelForm, partsOf, type StoredForm } from './effective-bits.ts';
import { quantizeBlockFloat } from './grid/block-float.ts';
import { doubleQuantize } from './grid/nested-levels.ts';
import { quantizeNvfp4 } from './grid/nvfp4.ts';
import { quantizePerVector } from './grid/per-vector.ts';
import { quantizeToTable } from './grid/table-matrix.ts';
import { effectiveBits } from './index.ts';

const shape = [1024, 4096] as const;
const N = 1024 * 4096;
const half = (per: Sharing): LevelForm => ({ stored: 'f16', per });
const both = (bits: number, per: Sharing): StoredForm => ({ shape, bits, scale: half(per), zero: half(per) });

describe('with scales and zeros of 16 bits', () => {
  it.each([2, 3, 4, 8])('%i bits', (b) => {
    expect(effectiveBitsOf(both(b, { rows: 0, cols: 0 }))).toBe(b + 32 / N);
    expect(effectiveBitsOf(both(b, { rows: 1, cols: 0 }))).toBe(b + 32 / 4096);
    for (const g of [16, 32, 64, 128, 256]) expect(effectiveBitsOf(both(b, { rows: 1, cols: g }))).toBe(b + 32 / g);
  });
  it('4 bits in groups of 128: 4.25', () => expect(effectiveBitsOf(both(4, { rows: 1, cols: 128 }))).toBe(4.25));
});

describe('formats of the field', () => {
  const nested = (per: Sharing, parent: LevelForm): LevelForm => ({ stored: { bits: 8 }, per, parent });

  it('NF4 in blocks of 64: 4.5, double quantized 4.127', () => {
    expect(effectiveBitsOf({ shape, bits: 4, scale: { stored: 'f32', per: { flat: 64 } } })).toBe(4.5);
    const scale = nested({ flat: 64 }, { stored: 'f32', per: { flat: 64 * 256 } });
    expect(effectiveBitsOf({ shape, bits: 4, scale })).toBe(4 + 8 / 64 + 32 / (64 * 256));
    expect(effectiveBitsOf({ shape, bits: 4, scale })).toBeCloseTo(4.127, 3);
    expect(effectiveBitsOf({ shape, bits: 4, scale: { ...scale, offset: 'f32' } })).toBe(4.126953125 + 32 / N);
  });

  it('MXFP4 4.25, MXFP8 8.25, NVFP4 4.5', () => {
    expect(effectiveBitsOf({ shape, bits: 4, scale: { stored: 'e8m0', per: { rows: 1, cols: 32 } } })).toBe(4.25);
    expect(effectiveBitsOf({ shape, bits: 8, scale: { stored: 'e8m0', per: { rows: 1, cols: 32 } } })).toBe(8.25);
    const parent: LevelForm = { stored: 'f32', per: { rows: 0, cols: 0 } };
    expect(effectiveBitsOf({ shape, bits: 4, scale: { stored: 'e4m3', per: { rows: 1, cols: 16 }, parent } })).toBe(4.5 + 32 / N);
  });

  it('books, vectors, activation order, outliers, low rank', () => {
    const row = { rows: 1, cols: 0 };
    expect(effectiveBitsOf({ shape, bits: 3, books: { entries: 8, stored: 'f16', per: row } })).toBe(3 + (8 * 16) / 4096);
    const pairs = { entries: 256, stored: 'f16', per: { rows: 0, cols: 0 } } as const;
    expect(effectiveBitsOf({ shape, bits: 8, dim: 2, books: pairs })).toBe(4 + (256 * 2 * 16) / N);
    expect(effectiveBitsOf({ ...both(4, { rows: 1, cols: 128 }), groupIndex: 32 })).toBe(4.25 + 32 / 1024);
    const sparse = { count: N / 100, stored: 'f16', indexBits: 16 } as const;
    expect(effectiveBitsOf({ shape, bits: 4, sparse })).toBeCloseTo(4.32, 12);
    const columns = { count: 41, stored: 'f16', indexBits: 32 } as const;
    expect(effectiveBitsOf({ shape, bits: 8, columns })).toBe(8 + (41 * (16 * 1024 + 32)) / N);
    expect(effectiveBitsOf({ shape, bits: 8, columns: { ...columns, removed: true } })).toBe(8 + (41 * (8 * 1024 + 32)) / N);
    expect(effectiveBitsOf({ shape, bits: 4, lowRank: { rank: 16, stored: 'bf16' } })).toBe(4 + (16 * 5120 * 16) / N);
    expect(partsOf({ shape, bits: 4, columnScale: 'f16' })).toEqual([
      { part: 'codes', bits: 4 * N },
      { part: 'column scales', bits: 4096 * 16 },
    ]);
    expect(effectiveBitsOf({ shape: [0, 8], bits: 4 })).toBe(0);
  });

  it('flat runs that do not divide the matrix have one more scale', () => {
    expect(effectiveBitsOf({ shape: [7, 33], bits: 4, scale: { stored: 'f32', per: { flat: 64 } } })).toBe(4 + (4 * 32) / 231);
  });
});

it('is what a tile holds', () => {
  const x = Float32Array.from({ length: 32 * 128 }, (_, i) => Math.sin(i * i));
  const place = { name: 'w', shape: [32, 128] as const, from: 0, to: 32 };
  const nf4 = quantizeToTable(x, place, { grid: 'nf4', granularity: { flat: 64 } });
  const tiles = [
    nf4,
    quantizeToTable(x, place, { grid: 'e4m3', granularity: 'channel', scaleType: 'bf16' }),
    quantizeBlockFloat(x, place, { format: 'e2m1' }),
    quantizeNvfp4(x, place),
    quantizePerVector(x, place, { bits: 4, vector: 16, scaleBits: 4 }),
  ];
  const bits = [4, 8, 4, 4, 4];
  tiles.forEach((tile, i) => {
    expect(effectiveBitsOf(formOf(tile, bits[i]!))).toBe(effectiveBits(tile));
  });
  expect(tiles.map(effectiveBits)).toEqual([4.5, 8 + 16 / 128, 4.25, 4.5 + 32 / 4096, 4 + 4 / 16 + 16 / 128]);
  // The tile's own count leaves the mean out.
  expect(effectiveBitsOf(formOf(doubleQuantize(nf4), 4))).toBe(effectiveBits(doubleQuantize(nf4)) + 32 / 4096);
  expect(effectiveBitsOf(formOf(nf4, 4, { books: 'f32' }))).toBe(4.5 + (16 * 32) / 4096);
});
