/** SINQ: balanced deviations, a preserved function, and smaller errors where rows and columns stand out. */
import { describe, expect, it } from 'vitest';
import { Random } from '../numeric/random.ts';
import { dequantizeTile } from './dequantize.ts';
import { largestDifference } from './method-golden.fixture.node.ts';
import { quantizeRows } from './quantize-matrix.ts';
import type { MatrixScheme } from './scheme.ts';
import { divideColumns, multiplyGain, multiplyRows, sharedColumnScale, sinqRows, sinqScales } from './sinq.ts';

const [rows, cols] = [96, 128];
const place = { name: 'w', shape: [rows, cols] as const, from: 0, to: rows };
const random = new Random(13);
const matrix = (height: number): Float32Array => {
  const row = Array.from({ length: height }, () => Math.exp(0.6 * random.gaussian()));
  const column = Array.from({ length: cols }, (_, c) => (c % 32 === 5 ? 8 : Math.exp(0.3 * random.gaussian())));
  return Float32Array.from({ length: height * cols }, (_, at) => {
    return 0.02 * random.gaussian() * row[Math.floor(at / cols)]! * column[at % cols]!;
  });
};
const w = matrix(rows);
const scheme = (bits: number, symmetric = false): MatrixScheme => ({
  kind: 'integer',
  bits,
  symmetric,
  granularity: { group: 64 },
  range: symmetric ? 'absmax-half' : 'minmax',
  scaleType: 'f16',
});

/** Σ h_c (x - y)² */
function weighted(x: Float32Array, y: Float32Array, h: Float32Array): number {
  return x.reduce((sum, v, at) => sum + h[at % cols]! * (v - y[at]!) ** 2, 0);
}

describe('SINQ', () => {
  it.each([cols, 64])('lowers the imbalance, blocks of %i columns', (block) => {
    const scales = sinqScales(w, [rows, cols], { block });
    expect(scales.before).toHaveLength(cols / block);
    for (const [b, before] of scales.before.entries()) {
      expect(before).toBeGreaterThan(8);
      expect(scales.after[b]!).toBeLessThan(1.5);
    }
    // Each block's geometric mean is 1, up to f16.
    const logs = Array.from(scales.column, Math.log);
    for (let b = 0; b < cols / block; b++) {
      expect(logs.slice(b * block, (b + 1) * block).reduce((sum, log) => sum + log, 0) / block).toBeCloseTo(0, 3);
    }
  });

  it('keeps the start where that is balanced best', () => {
    const even = Float32Array.from({ length: 16 * 16 }, (_, at) => ((Math.floor(at / 16) + at) % 2 ? 1 : -1));
    const scales = sinqScales(even, [16, 16]);
    expect([...scales.column]).toEqual(Array(16).fill(1));
    expect(scales.after[0]).toBe(scales.before[0]);
  });

  it('does not depend on the size of the weights', () => {
    const small = w.map((v) => v * 2 ** -20);
    expect(largestDifference(sinqScales(small, [rows, cols]).column, sinqScales(w, [rows, cols]).column)).toBeLessThan(1e-3);
  });

  it.each([
    [4, false],
    [3, false],
    [4, true],
    [3, true],
  ])('errs less than rounding to nearest at %i bits (symmetric %s), with equal and with random inputs', (bits, symmetric) => {
    const equal = new Float32Array(cols).fill(1);
    const inputs = Float32Array.from({ length: cols }, () => Math.exp(random.gaussian()));
    const nearest = dequantizeTile(quantizeRows(w, place, scheme(bits, symmetric)));
    for (const block of [cols, 64]) {
      const { column } = sinqScales(w, [rows, cols], { block });
      const decoded = dequantizeTile(sinqRows(w, place, scheme(bits, symmetric), column));
      for (const h of [equal, inputs]) expect(weighted(w, decoded, h)).toBeLessThan(0.7 * weighted(w, nearest, h));
    }
  });

  it('decodes to scale (code - zero) times the column scale', () => {
    const { column } = sinqScales(w, [rows, cols], { block: 64 });
    const tile = sinqRows(w, place, scheme(4), column);
    const decoded = dequantizeTile(tile);
    for (const at of [0, 77, 5000, rows * cols - 1]) {
      const group = Math.floor(at / 64);
      const plain = Math.fround((tile.codes[at]! - tile.zero!.levels.values[group]!) * tile.scale!.values[group]!);
      expect(decoded[at]).toBe(Math.fround(plain * column[at % cols]!));
    }
    const part = sinqRows(w.slice(32 * cols), { ...place, from: 32 }, scheme(4), column);
    expect(dequantizeTile(part)).toEqual(decoded.slice(32 * cols));
  });

  it('goes with the range hqq', () => {
    const { column } = sinqScales(w, [rows, cols]);
    const of = (range: 'hqq' | 'minmax') =>
      dequantizeTile(sinqRows(w, place, { ...scheme(3), range, zero: 'float' }, column)).reduce(
        (sum, v, at) => sum + (Math.abs(v - w[at]!) / column[at % cols]!) ** 0.7,
        0,
      );
    expect(of('hqq')).toBeLessThan(0.99 * of('minmax'));
  });

  it('takes rows and columns of zeros or of one value', () => {
    const holed = w.map((v, at) => (at % cols === 3 || Math.floor(at / cols) === 4 ? 0 : Math.floor(at / cols) === 6 ? 0.5 : v));
    const { column } = sinqScales(holed, [rows, cols]);
    expect(column.every((s) => s > 0 && Number.isFinite(s))).toBe(true);
    const decoded = dequantizeTile(sinqRows(holed, place, scheme(4), column));
    for (let r = 0; r < rows; r++) expect(decoded[r * cols + 3] === 0 || r === 6).toBe(true);
    expect([...sinqScales(new Float32Array(64), [8, 8]).column]).toEqual(Array(8).fill(1));
  });

  it('refuses NaN and blocks that do not fit', () => {
    expect(() => sinqScales(w, [rows, cols], { block: 48 })).toThrow('blocks');
    expect(() => sinqScales(Float32Array.of(1, Number.NaN), [1, 2])).toThrow('NaN');
    expect(() => divideColumns(w, new Float32Array(100))).toThrow('another width');
    expect(() => multiplyRows(w, new Float32Array(100))).toThrow('another height');
  });
});

describe('SINQ, folded', () => {
  const linears = [matrix(64), matrix(32), matrix(32)];
  const column = sharedColumnScale(linears, cols);
  const gain = Float32Array.from({ length: cols }, () => 1 + 0.3 * random.gaussian());
  const x = Float32Array.from({ length: 4 * cols }, () => random.gaussian());
  /** x [tokens, cols] times w' */
  const product = (w_: Float32Array, g: Float32Array): Float32Array => {
    const height = w_.length / cols;
    return Float32Array.from({ length: 4 * height }, (_, i) => {
      const [t, r] = [Math.floor(i / height), i % height];
      let sum = 0;
      for (let c = 0; c < cols; c++) sum += x[t * cols + c]! * g[c]! * w_[r * cols + c]!;
      return sum;
    });
  };

  it('leaves the function of norm and linears as it is', () => {
    for (const one of linears) {
      const folded = product(divideColumns(one, column), multiplyGain(gain, column));
      expect(largestDifference(folded, product(one, gain))).toBeLessThan(1e-5);
    }
  });

  it('leaves the function of two linears as it is', () => {
    const [first, second] = [matrix(cols), linears[0]!];
    const through = (a: Float32Array, b: Float32Array): Float32Array => {
      const middle = Float32Array.from({ length: cols }, (_, r) => {
        let sum = 0;
        for (let c = 0; c < cols; c++) sum += x[c]! * a[r * cols + c]!;
        return sum;
      });
      return Float32Array.from({ length: 64 }, (_, r) => middle.reduce((sum, v, c) => sum + v * b[r * cols + c]!, 0));
    };
    const folded = through(multiplyRows(first, column), divideColumns(second, column));
    expect(largestDifference(folded, through(first, second))).toBeLessThan(1e-5);
  });

  it('errs less than rounding to nearest, in the outputs', () => {
    for (const bits of [4, 3]) {
      for (const one of linears) {
        const at = { name: 'w', shape: [one.length / cols, cols] as const, from: 0, to: one.length / cols };
        const exact = product(one, gain);
        const lost = (y: Float32Array): number => y.reduce((sum, v, i) => sum + (v - exact[i]!) ** 2, 0);
        const nearest = lost(product(dequantizeTile(quantizeRows(one, at, scheme(bits))), gain));
        const folded = dequantizeTile(quantizeRows(divideColumns(one, column), at, scheme(bits)));
        expect(lost(product(folded, multiplyGain(gain, column)))).toBeLessThan(0.8 * nearest);
      }
    }
  });
});
