import { describe, expect, it } from 'vitest';
import { encodeMinifloat, minifloats } from '../../numeric/minifloat.ts';
import { Random } from '../../numeric/random.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { compareValues, dequantizeTile } from '../index.ts';
import { type ExponentRule, log2Floor, quantizeBlockFloat } from './block-float.ts';
import { nestedValues } from './nested-levels.ts';
import { nvfp4Global, quantizeNvfp4 } from './nvfp4.ts';
import { quantizePerVector } from './per-vector.ts';

const random = new Random(21);
const ROWS = 48;
const COLS = 128;
const x = Float32Array.from({ length: ROWS * COLS }, (_, i) => 0.02 * (1 + (i % 5)) * random.gaussian());
const weights = Float32Array.from({ length: COLS }, () => Math.exp(2 * random.gaussian()));
const place = { name: 'w', shape: [ROWS, COLS] as const, from: 0, to: ROWS };
const rows = { from: 0, to: ROWS, cols: COLS };

/** Weighted error of each block of a tile. */
function blockErrors(tile: QuantizedTile, block: number, by?: Float32Array): number[] {
  const decoded = dequantizeTile(tile);
  const errors = new Array<number>((ROWS * COLS) / block).fill(0);
  decoded.forEach((value, i) => {
    errors[Math.floor(i / block)]! += (value - x[i]!) ** 2 * (by ? by[i % COLS]! : 1);
  });
  return errors;
}
const noneWorse = (a: number[], b: number[]) => expect(a.findIndex((error, i) => error > b[i]! * (1 + 1e-6))).toBe(-1);
const sum = (errors: number[]) => errors.reduce((a, b) => a + b, 0);

describe.each(['e2m1', 'e2m3', 'e3m2', 'e4m3', 'e5m2'] as const)('MX blocks of %s', (format) => {
  const tile = (exponent: ExponentRule, by?: Float32Array) =>
    quantizeBlockFloat(x, place, { format, exponent, ...(by && { weights: by }) });

  it('the OCP exponent, saturating codes', () => {
    const top = { e2m1: 2, e2m3: 2, e3m2: 4, e4m3: 8, e5m2: 15 }[format];
    const { codes, scale } = tile('floor');
    for (let b = 0; b < scale!.values.length; b++) {
      const run = x.subarray(32 * b, 32 * b + 32);
      const absmax = run.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const e = Math.floor(Math.log2(absmax)) - top;
      expect(scale!.values[b]).toBe(2 ** e);
      const want = Array.from(run, (value) => encodeMinifloat(minifloats[format], value / 2 ** e, { saturate: true }));
      expect([...codes.subarray(32 * b, 32 * b + 32)]).toEqual(want);
    }
  });

  it('fit clips nothing and is minimal, ceil is at least fit for E2M1, best is never worse than floor', () => {
    const fit = tile('fit').scale!.values;
    const largest = { e2m1: 6, e2m3: 7.5, e3m2: 28, e4m3: 448, e5m2: 57344 }[format];
    fit.forEach((scale, b) => {
      const absmax = x.subarray(32 * b, 32 * b + 32).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      expect(absmax).toBeLessThanOrEqual(largest * scale);
      expect(absmax).toBeGreaterThan((largest * scale) / 2);
    });
    tile('ceil').scale!.values.forEach((scale, b) => {
      expect(scale).toBeGreaterThanOrEqual(fit[b]!);
    });
    noneWorse(blockErrors(tile('best'), 32), blockErrors(tile('floor'), 32));
    noneWorse(blockErrors(tile('best', weights), 32, weights), blockErrors(tile('floor'), 32, weights));
  });
});

it('MXFP4: the better of two exponents gains', () => {
  const error = (exponent: ExponentRule, by?: Float32Array) =>
    sum(blockErrors(quantizeBlockFloat(x, place, { format: 'e2m1', exponent, ...(by && { weights: by }) }), 32, by));
  expect(error('best')).toBeLessThan(0.99 * error('floor'));
  expect(error('best', weights)).toBeLessThan(0.995 * error('floor', weights));
});

it('exponents are exact at powers of two and stay in e8m0', () => {
  for (let e = -126; e <= 127; e++) expect([log2Floor(2 ** e), log2Floor(2 ** e * 0.99999994)]).toEqual([e, e - 1]);
  const edges = new Float32Array(128);
  edges[32] = 4;
  edges[64] = 1e-45;
  edges[96] = 3e38;
  const tile = quantizeBlockFloat(edges, { name: 'w', shape: [1, 128], from: 0, to: 1 }, { format: 'e4m3' });
  expect([...tile.scale!.values].map(Math.log2)).toEqual([-127, -6, -127, 119]);
  expect(dequantizeTile(tile)[32]).toBe(4);
});

describe('NVFP4', () => {
  const tile = (scale: 'six' | 'four-over-six' | 'search', by?: Float32Array, largestScale?: number) =>
    quantizeNvfp4(x, place, { scale, ...(by && { weights: by }), ...(largestScale && { largestScale }) });

  it('scales are E4M3 of absmax / 6 under absmax of the tensor / (6 * 448)', () => {
    const { scale, codes } = tile('six');
    const absmax = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const global = Math.fround(absmax / 2688);
    expect([...scale!.parent!.values]).toEqual([global]);
    expect(Math.max(...scale!.codes!)).toBe(0x7e);
    expect(nestedValues(scale!, rows)).toEqual(scale!.values);
    for (let b = 0; b < scale!.values.length; b++) {
      const run = x.subarray(16 * b, 16 * b + 16);
      const most = run.reduce((m, value) => Math.max(m, Math.abs(value)), 0);
      expect(scale!.codes![b]).toBe(encodeMinifloat(minifloats.e4m3, most / 6 / global, { saturate: true }));
      const s = scale!.values[b]!;
      const want = Array.from(run, (value) => encodeMinifloat(minifloats.e2m1, Math.fround(value / s), { saturate: true }));
      expect([...codes.subarray(16 * b, 16 * b + 16)]).toEqual(want);
    }
  });

  it('four over six, and the search, lower the error of blocks and raise none', () => {
    for (const by of [undefined, weights]) {
      const six = blockErrors(tile('six'), 16, by);
      const four = blockErrors(tile('four-over-six', by), 16, by);
      const search = blockErrors(tile('search', by), 16, by);
      noneWorse(four, six);
      noneWorse(search, four);
      expect(sum(four)).toBeLessThan(0.95 * sum(six));
      expect(sum(search)).toBeLessThan(0.95 * sum(four));
    }
    expect(tile('four-over-six', undefined, 256).scale!.parent!.values[0]).toBeCloseTo(
      (tile('six').scale!.parent!.values[0]! * 448) / 256,
      8,
    );
  });

  it('no block vanishes, tiles share the global scale, a zero tensor decodes to zeros', () => {
    const mixed = new Float32Array(64).fill(1e-6, 16, 32);
    mixed[0] = 1;
    mixed[40] = -0.3;
    const whole = { name: 'w', shape: [2, 32] as const, from: 0, to: 2 };
    const all = quantizeNvfp4(mixed, whole);
    expect([...all.scale!.codes!.subarray(0, 2)]).toEqual([0x7e, 1]);
    const part = quantizeNvfp4(mixed.subarray(32), { ...whole, from: 1 }, { global: nvfp4Global(1) });
    expect(dequantizeTile(part)).toEqual(dequantizeTile(all).subarray(32));
    expect(() => quantizeNvfp4(mixed.subarray(32), { ...whole, from: 1 })).toThrow(/survey it/);
    expect(() => quantizeNvfp4(mixed, whole, { global: 0 })).toThrow(/must be positive/);
    const zeros = new Float32Array(64);
    expect(dequantizeTile(quantizeNvfp4(zeros, whole, { scale: 'search' }))).toEqual(zeros);
  });
});

describe('VS-Quant', () => {
  it('integer scales under the scale of a row; values follow from codes and parents', () => {
    const tile = quantizePerVector(x, place, { bits: 4, vector: 16, scaleBits: 4 });
    const { scale } = tile;
    expect(nestedValues(scale!, rows)).toEqual(scale!.values);
    for (let r = 0; r < ROWS; r++) expect(Math.max(...scale!.codes!.subarray(r * 8, r * 8 + 8))).toBe(15);
    expect(tile.codes.every((code) => code >= 1 && code <= 15)).toBe(true);
    const { sqnr } = compareValues(x, dequantizeTile(tile));
    const coarse = compareValues(x, dequantizeTile(quantizePerVector(x, place, { bits: 4, vector: 128, scaleBits: 4 }))).sqnr;
    expect(sqnr).toBeGreaterThan(coarse + 1.5);
  });

  it('more scale bits lose less, and the search loses least', () => {
    const error = (scaleBits: number, choice: 'nearest' | 'search', by?: Float32Array) =>
      sum(
        blockErrors(quantizePerVector(x, place, { bits: 4, vector: 16, scaleBits, choice, ...(by && { weights: by }) }), 16, by),
      );
    expect(error(6, 'nearest')).toBeLessThan(error(3, 'nearest'));
    expect(error(6, 'search')).toBeLessThan(0.95 * error(6, 'nearest'));
    expect(error(6, 'search', weights)).toBeLessThan(0.95 * error(6, 'nearest', weights));
  });

  it('zero rows and vectors, and widths that do not exist', () => {
    const zeros = new Float32Array(32);
    const small = { name: 'w', shape: [1, 32] as const, from: 0, to: 1 };
    const options = { bits: 4, vector: 16, scaleBits: 4 };
    expect(dequantizeTile(quantizePerVector(zeros, small, options))).toEqual(zeros);
    zeros[0] = 100;
    zeros[20] = 0.001;
    expect([...quantizePerVector(zeros, small, options).scale!.codes!]).toEqual([15, 1]);
    expect(() => quantizePerVector(zeros, small, { ...options, scaleBits: 9 })).toThrow(/2..8 bits/);
    expect(() => quantizePerVector(zeros, small, { ...options, bits: 1 })).toThrow(/2 bits/);
    expect(() => quantizePerVector(zeros, small, { ...options, vector: 5 })).toThrow(/groups of 5/);
  });
});
