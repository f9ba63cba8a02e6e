import { describe, expect, it } from 'vitest';
import { Random } from '../../numeric/random.ts';
import { golden, goldenJson } from '../grid/golden.fixture.node.ts';
import { quantizeToTable } from '../grid/table-matrix.ts';
import { compareValues, dequantizeTile, effectiveBits } from '../index.ts';
import { type CodebookOptions, learnBooks, quantizeToCodebook } from './book-matrix.ts';
import { assignVectors, clusterVectors } from './cluster-vectors.ts';
import { gaussianLevels } from './gaussian.ts';

const gaussian = (n: number, seed: number, scale = 1) => {
  const random = new Random(seed);
  return Float32Array.from({ length: n }, () => scale * random.gaussian());
};
const place = (rows: number, cols: number, from = 0, to = rows) => ({ name: 'w', shape: [rows, cols] as const, from, to });
const row = { rows: 1, cols: 0 };
const whole = { rows: 0, cols: 0 };

describe('SqueezeLLM a5fd71f, sensitivity-weighted k-means of rows', () => {
  const { values, bytes } = golden('codebooks/squeezellm_kmeans');
  const { cases } = goldenJson<{ cases: { case: string; bits: number; weighted_error_per_row: number[] }[] }>(
    'codebooks/squeezellm_kmeans',
  );
  const W = values('W');
  const importance = values('sensitivity').map((weight, i) => (W[i] === 0 ? 0 : weight));
  const errors = (x: Float32Array) =>
    Array.from({ length: 12 }, (_, r) => {
      let sum = 0;
      for (let i = r * 256; i < (r + 1) * 256; i++) sum += importance[i]! * (W[i]! - x[i]!) ** 2;
      return sum;
    });

  it.each(cases)('$case: no row is worse, as the reference starts at random and this is the optimum', (c) => {
    const tile = quantizeToCodebook(W, place(12, 256), { bits: c.bits, per: row, importance });
    const got = errors(dequantizeTile(tile));
    const ratios = got.map((error, r) => error / c.weighted_error_per_row[r]!);
    expect(Math.max(...ratios)).toBeLessThanOrEqual(1 + 1e-6);
    expect(ratios.reduce((a, b) => a + b) / 12).toBeLessThan(0.97);
    expect(effectiveBits(tile)).toBeCloseTo(c.bits, 1);
  });

  it.each(cases)('$case: labels with its centers', (c) => {
    const tile = quantizeToCodebook(W, place(12, 256), { bits: c.bits, per: row, books: values(`${c.case}.centers`) });
    expect(tile.codes).toEqual(bytes(`${c.case}.labels`));
  });
});

it('scikit-learn 1.9.1 KMeans on pairs: centers, labels and inertia from the same start', () => {
  const file = golden('codebooks/lloyd_max');
  const value = file.values('vq.x');
  const { centers, error } = clusterVectors({ value, dim: 2 }, 16, { start: value.subarray(0, 32), rounds: 200 });
  const want = file.doubles('vq.centers');
  const worst = centers.reduce((most, c, i) => Math.max(most, Math.abs(c - want[i]!)), 0);
  expect(worst).toBeLessThan(1e-9);
  expect(Math.abs(error / 449.88445523164813 - 1)).toBeLessThan(1e-9);
  const labels = new Uint8Array(2048);
  assignVectors({ value, dim: 2 }, want, labels);
  expect(labels).toEqual(file.bytes('vq.labels'));
  expect(clusterVectors({ value, dim: 2 }, 16, { rounds: 200 }).error).toBeLessThan(460);
});

it.each([2, 4])('vectors of %i: the pruned search finds what trying all centers finds', (dim) => {
  const value = gaussian(400 * dim, 1);
  const centers = Float64Array.from(gaussian(33 * dim, 2));
  centers.copyWithin(dim, 0, dim);
  for (const weight of [undefined, gaussian(400 * dim, 3).map((w, i) => (i % 5 === 0 ? 0 : w * w))]) {
    const labels = new Uint16Array(400);
    const total = assignVectors({ value, dim, ...(weight && { weight }) }, centers, labels);
    let sum = 0;
    for (let i = 0; i < 400; i++) {
      const costs = Array.from({ length: 33 }, (_, c) => {
        let cost = 0;
        for (let d = 0; d < dim; d++) {
          cost += (value[i * dim + d]! - centers[c * dim + d]!) ** 2 * (weight ? weight[i * dim + d]! : 1);
        }
        return cost;
      });
      const least = Math.min(...costs);
      expect(costs[labels[i]!]).toBeCloseTo(least, 12);
      if (!weight) expect(labels[i]).toBe(costs.indexOf(least));
      sum += least;
    }
    expect(total).toBeCloseTo(sum, 8);
  }
});

describe('books of a matrix', () => {
  const x = gaussian(32 * 64, 7, 0.02);
  const sqnr = (options: CodebookOptions) => compareValues(x, dequantizeTile(quantizeToCodebook(x, place(32, 64), options))).sqnr;

  it('finer sharing and longer vectors lose less', () => {
    const tensor = sqnr({ bits: 3, per: whole });
    expect(sqnr({ bits: 3, per: row })).toBeGreaterThan(tensor + 0.5);
    expect(sqnr({ bits: 6, dim: 2, per: whole })).toBeGreaterThan(tensor + 0.2);
    expect(sqnr({ bits: 6, dim: 2, per: { rows: 0, cols: 2 } })).toBeGreaterThan(sqnr({ bits: 6, dim: 2, per: whole }));
    expect(sqnr({ bits: 9, dim: 4, per: { rows: 8, cols: 32 } })).toBeGreaterThan(0);
  });

  it('tensor book near the optimum for a gaussian, 3 bits: 14.62 dB', () => {
    expect(sqnr({ bits: 3, per: whole })).toBeGreaterThan(14.5);
    expect(sqnr({ bits: 3, per: whole })).toBeLessThan(15.1);
  });

  it('Lloyd-Max levels of a gaussian under the rms: 14.62 and 20.22 dB, and not better than learned ones', () => {
    for (const [bits, theory] of [
      [3, 14.62],
      [4, 20.22],
    ] as const) {
      const options = { grid: gaussianLevels(bits), granularity: 'tensor', range: 'rms' } as const;
      const got = compareValues(x, dequantizeTile(quantizeToTable(x, place(32, 64), options))).sqnr;
      expect(Math.abs(got - theory)).toBeLessThan(0.4);
      expect(sqnr({ bits, per: whole })).toBeGreaterThan(got);
    }
  });

  it('the same seed gives the same books, another seed others', () => {
    const options = { bits: 6, dim: 2, per: whole };
    const first = learnBooks(x, place(32, 64), options);
    expect(learnBooks(x, place(32, 64), options)).toEqual(first);
    expect(learnBooks(x, place(32, 64), { ...options, seed: 1 })).not.toEqual(first);
  });

  it('tiles with given books give the codes of the whole', () => {
    for (const options of [
      { bits: 4, per: whole },
      { bits: 6, dim: 2, per: { rows: 0, cols: 16 } },
    ]) {
      const all = quantizeToCodebook(x, place(32, 64), options);
      const books = learnBooks(x, place(32, 64), options);
      const dim = 'dim' in options ? (options.dim ?? 1) : 1;
      const part = quantizeToCodebook(x.subarray(8 * 64, 24 * 64), place(32, 64, 8, 24), { ...options, books });
      expect(part.codes).toEqual(all.codes.subarray((8 * 64) / dim, (24 * 64) / dim));
      expect(dequantizeTile(part)).toEqual(dequantizeTile(all).subarray(8 * 64, 24 * 64));
    }
    expect(() => quantizeToCodebook(x.subarray(0, 64), place(32, 64, 0, 1), { bits: 4, per: whole })).toThrow(
      /all rows that share it/,
    );
  });

  it('stored f16, scales of rows, and importance by column', () => {
    const loud = x.map((value, i) => value * (1 + Math.floor(i / 64)));
    const options = {
      bits: 3,
      per: whole,
      stored: 'f16',
      scale: { granularity: 'channel', by: 'rms', scaleType: 'f16' },
    } as const;
    const scaled = quantizeToCodebook(loud, place(32, 64), options);
    const plain = quantizeToCodebook(loud, place(32, 64), { bits: 3, per: whole });
    expect(compareValues(loud, dequantizeTile(scaled)).sqnr).toBeGreaterThan(compareValues(loud, dequantizeTile(plain)).sqnr + 1);
    expect(effectiveBits(scaled)).toBe(3 + 16 / 64);
    const importance = Float32Array.from({ length: 64 }, (_, c) => (c < 8 ? 100 : 1));
    const error = (y: Float32Array) => y.reduce((sum, value, i) => sum + importance[i % 64]! * (value - x[i]!) ** 2, 0);
    const weighted = error(dequantizeTile(quantizeToCodebook(x, place(32, 64), { bits: 3, per: row, importance })));
    expect(weighted).toBeLessThan(0.6 * error(dequantizeTile(quantizeToCodebook(x, place(32, 64), { bits: 3, per: row }))));
  });

  it.each([1, 2])('values of %i that f16 does not hold are refused, and stored as f32 or bf16 where that is said', (dim) => {
    for (const size of [1e5, 3e38]) {
      const large = Float32Array.from({ length: 128 }, (_, i) => (i % 2 ? size : -size) * (1 - (i % 7) / 100));
      const options = { bits: 3, dim, per: row };
      expect(() => quantizeToCodebook(large, place(2, 64), { ...options, stored: 'f16' })).toThrow(
        /^w, book 0: a value of a codebook overflows f16 .*limit 65504.*bf16 or f32/,
      );
      for (const stored of ['bf16', 'f32'] as const) {
        const decoded = dequantizeTile(quantizeToCodebook(large, place(2, 64), { ...options, stored }));
        expect(compareValues(large, decoded).sqnr).toBeGreaterThan(35);
      }
    }
  });

  it('refuses what does not fit', () => {
    const attempt = (options: Partial<CodebookOptions>) => () =>
      quantizeToCodebook(x, place(32, 64), { bits: 4, per: whole, ...options });
    expect(attempt({ bits: 17 })).toThrow(/1 to 16 bits/);
    expect(attempt({ dim: 3 })).toThrow(/do not split into vectors/);
    expect(attempt({ dim: 4, per: { rows: 0, cols: 6 } })).toThrow(/whole vectors/);
    expect(attempt({ importance: new Float32Array(5) })).toThrow(/importance is neither/);
    expect(attempt({ importance: new Float32Array(64).fill(-1) })).toThrow(/negative/);
    expect(attempt({ books: new Float32Array(3) })).toThrow(/do not have this many values/);
  });
});
