/** Low-rank correction: Eckart and Young, weighting, tiles, rounds. */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { openCheckpoint, readTensor } from '../../checkpoint/index.ts';
import { openSource } from '../../io/index.ts';
import { Random } from '../../numeric/random.ts';
import { toF32 } from '../../tensor/values.ts';
import { dequantizeTile } from '../dequantize.ts';
import { quantizeRows } from '../quantize-matrix.ts';
import { correlatedHessian } from '../rounding/correlated.fixture.ts';
import type { MatrixScheme } from '../scheme.ts';
import { lowRankOf, quantizeLowRank, residualOf, withLowRank } from './low-rank.ts';
import { quantizeApart } from './set-apart.ts';
import { truncatedSvd } from './svd.ts';
import { symmetricEigen } from './symmetric-eigen.ts';

const random = new Random(17);
const gaussian = (n: number, size = 1): Float32Array => Float32Array.from({ length: n }, () => size * random.gaussian());
const energy = (x: ArrayLike<number>): number => Array.from(x).reduce((sum, v) => sum + v * v, 0);

/** Eigenvalues of a a' by classical Jacobi rotations of the symmetric matrix: slow and independent. a: [m, n] */
function singularSquares(a: Float32Array, m: number, n: number): number[] {
  const g = Array.from({ length: m }, (_, i) =>
    Array.from({ length: m }, (_, j) => {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += a[i * n + k]! * a[j * n + k]!;
      return sum;
    }),
  );
  for (let sweep = 0; sweep < 12; sweep++) {
    for (let p = 0; p < m; p++) {
      for (let q = p + 1; q < m; q++) {
        if (Math.abs(g[p]![q]!) < 1e-13) continue;
        const angle = 0.5 * Math.atan2(2 * g[p]![q]!, g[q]![q]! - g[p]![p]!);
        const [c, s] = [Math.cos(angle), Math.sin(angle)];
        for (let k = 0; k < m; k++) {
          const [x, y] = [g[k]![p]!, g[k]![q]!];
          g[k]![p] = c * x - s * y;
          g[k]![q] = s * x + c * y;
        }
        for (let k = 0; k < m; k++) {
          const [x, y] = [g[p]![k]!, g[q]![k]!];
          g[p]![k] = c * x - s * y;
          g[q]![k] = s * x + c * y;
        }
      }
    }
  }
  return g.map((row, i) => row[i]!).sort((x, y) => y - x);
}

const scheme = (bits: number): MatrixScheme => ({
  kind: 'integer',
  bits,
  symmetric: false,
  granularity: { group: 32 },
  range: 'minmax',
  scaleType: 'f16',
});

describe('Singular values', () => {
  it.each([
    [24, 40],
    [40, 24],
    [32, 32],
  ])('of [%i, %i] are the roots of the eigenvalues, with orthonormal vectors', (m, n) => {
    const a = gaussian(m * n);
    const rank = Math.min(m, n);
    const { u, s, v } = truncatedSvd(Float64Array.from(a), m, n, rank);
    const squares = singularSquares(a, m, n).slice(0, rank);
    for (const [i, one] of s.entries()) expect(one * one).toBeCloseTo(squares[i]!, 8);
    for (const [x, length] of [
      [u, m],
      [v, n],
    ] as const) {
      for (const [i, j] of [
        [0, 0],
        [1, 3],
        [5, 5],
        [2, rank - 1],
      ] as const) {
        let sum = 0;
        for (let k = 0; k < length; k++) sum += x[k * rank + i]! * x[k * rank + j]!;
        expect(sum).toBeCloseTo(i === j ? 1 : 0, 10);
      }
    }
    for (const at of [0, 77, m * n - 1]) {
      let sum = 0;
      for (let k = 0; k < rank; k++) sum += u[Math.floor(at / n) * rank + k]! * s[k]! * v[(at % n) * rank + k]!;
      expect(sum).toBeCloseTo(a[at]!, 10);
    }
  });

  it('of larger matrices by subspace iteration hold the energy of the largest, whatever the spectrum', () => {
    const [m, n, rank] = [120, 110, 8];
    const flat = gaussian(m * n);
    const steep = flat.map((v, at) => v * 0.9 ** (at % n));
    for (const a of [flat, steep]) {
      const all = singularSquares(a, m, n);
      const { s, u, v } = truncatedSvd(Float64Array.from(a), m, n, rank);
      const best = all.slice(rank).reduce((sum, e) => sum + e, 0);
      let left = 0;
      for (let at = 0; at < m * n; at++) {
        let sum = a[at]!;
        for (let k = 0; k < rank; k++) sum -= u[Math.floor(at / n) * rank + k]! * s[k]! * v[(at % n) * rank + k]!;
        left += sum * sum;
      }
      expect(Math.abs(left / best - 1)).toBeLessThan(1e-4);
      expect(s[0]! ** 2 / all[0]!).toBeCloseTo(1, 5);
    }
  });
});

describe('Larger matrices', () => {
  /** What is left of a by all eigenvalues of a'a: independent of the search. */
  const leftByAll = (a: Float64Array, m: number, n: number, rank: number): number => {
    const g = new Float64Array(n * n);
    for (let r = 0; r < m; r++)
      for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) g[i * n + j]! += a[r * n + i]! * a[r * n + j]!;
    return symmetricEigen(g, n)
      .values.slice(rank)
      .reduce((sum, one) => sum + one, 0);
  };
  const leftBy = (a: Float64Array, m: number, n: number, rank: number): number => {
    const { u, s, v } = truncatedSvd(a, m, n, rank);
    let left = 0;
    for (let at = 0; at < m * n; at++) {
      let rest = a[at]!;
      for (let k = 0; k < rank; k++) rest -= u[Math.floor(at / n) * rank + k]! * s[k]! * v[(at % n) * rank + k]!;
      left += rest * rest;
    }
    return left;
  };

  it('the eigenvectors of a symmetric matrix make it up again', () => {
    const n = 130;
    const x = gaussian(n * n);
    const a = Float64Array.from({ length: n * n }, (_, at) => x[at]! + x[(at % n) * n + Math.floor(at / n)]!);
    const { values, vectors } = symmetricEigen(a.slice(), n);
    expect([...values]).toEqual([...values].sort((p, q) => q - p));
    for (const [i, j] of [
      [0, 0],
      [3, 77],
      [129, 12],
    ] as const) {
      let [cell, product] = [0, 0];
      for (let k = 0; k < n; k++) {
        cell += vectors[k * n + i]! * values[k]! * vectors[k * n + j]!;
        product += vectors[i * n + k]! * vectors[j * n + k]!;
      }
      expect(cell).toBeCloseTo(a[i * n + j]!, 10);
      expect(product).toBeCloseTo(i === j ? 1 : 0, 12);
    }
    const zeros = symmetricEigen(new Float64Array(9), 3);
    expect([...zeros.values]).toEqual([0, 0, 0]);
  });

  it.each([
    ['by all eigenvectors', 260, 200],
    ['in a Krylov space', 400, 390],
    ['in a Krylov space, transposed', 390, 400],
  ])('random ones of any spectrum lose no more than the best of their rank: %s', (_, m, n) => {
    const flat = gaussian(m * n);
    for (const decay of [1, 0.95]) {
      const a = Float64Array.from(flat, (value, at) => value * decay ** (at % n));
      const best = leftByAll(a, m, n, 16);
      const left = leftBy(a, m, n, 16);
      expect(left / best).toBeGreaterThan(1 - 1e-9);
      expect(left / best).toBeLessThan(1 + 1e-3);
    }
  });

  it('the weighted error of real tensors is within a thousandth of the best of its rank', async () => {
    const path = fileURLToPath(new URL('../../../models/tinystories-3.7m/model.safetensors', import.meta.url));
    const file = await openCheckpoint({ source: await openSource({ kind: 'file', path }) });
    const read = async (name: string) => {
      const { type, bytes } = await readTensor(file.tensors.get(name)!);
      return toF32(type, bytes);
    };
    // Two of down stand for a part of a wider one.
    const wide = new Float32Array(512 * 400);
    for (const layer of [0, 1]) {
      const down = await read(`model.layers.${layer}.mlp.down_proj.weight`);
      for (let r = 0; r < 256; r++) wide.set(down.subarray(r * 768, r * 768 + 400), (layer * 256 + r) * 400);
    }
    const up = await read('model.layers.0.mlp.up_proj.weight');
    await file.close();
    for (const [w, m, n] of [
      [up, 768, 256],
      [wide, 512, 400],
    ] as const) {
      const residual = residualOf(
        w,
        quantizeRows(
          w,
          { name: 'w', shape: [m, n], from: 0, to: m },
          { ...scheme(3), granularity: { group: n === 400 ? 50 : 64 } },
        ),
      );
      const meansquare = Float32Array.from({ length: n }, (_, c) => Math.exp(Math.sin(c)));
      const correction = lowRankOf(residual, [m, n], { rank: 32, inputs: { meansquare } });
      const weighted = Float64Array.from(residual, (value, at) => value * Math.sqrt(meansquare[at % n]!));
      const best = leftByAll(weighted, m, n, 32);
      expect(correction.after / best).toBeGreaterThan(1 - 1e-9);
      expect(correction.after / best).toBeLessThan(1 + 1e-3);
      expect(correction.after).toBeLessThan(0.9 * correction.before);
    }
  });
});

describe('Low-rank correction', () => {
  const [rows, cols] = [48, 64];
  const place = { name: 'w', shape: [rows, cols] as const, from: 0, to: rows };
  const w = gaussian(rows * cols, 0.05);
  const plain = quantizeRows(w, place, scheme(3));
  const residual = residualOf(w, plain);
  const squares = singularSquares(residual, rows, cols);
  const left = (rank: number, stored: 'f32' | 'f16' = 'f32'): number => {
    const correction = lowRankOf(residual, [rows, cols], { rank, stored });
    return energy(residualOf(w, withLowRank(plain, correction)));
  };

  it('leaves the best error of its rank (Eckart and Young), falling with the rank, nothing at the full one', () => {
    let last = energy(residual);
    for (const rank of [1, 2, 4, 8, 16, 32, 47]) {
      const error = left(rank);
      const best = squares.slice(rank).reduce((sum, e) => sum + e, 0);
      expect(Math.abs(error / best - 1)).toBeLessThan(1e-4);
      expect(lowRankOf(residual, [rows, cols], { rank }).after / best).toBeCloseTo(1, 6);
      expect(error).toBeLessThan(last);
      last = error;
    }
    expect(left(48)).toBeLessThan(1e-9 * energy(residual));
    expect(left(8, 'f16') / left(8)).toBeLessThan(1.001);
  });

  it('is the best for the inputs that weight it', () => {
    const hessian = correlatedHessian(cols, 9);
    const meansquare = Float32Array.from({ length: cols }, (_, c) => hessian[c * cols + c]! * Math.exp(2 * Math.sin(c)));
    const lossOf = (e: Float32Array, h: (i: number, j: number) => number): number => {
      let sum = 0;
      for (let r = 0; r < rows; r++) {
        for (let i = 0; i < cols; i++) for (let j = 0; j < cols; j++) sum += e[r * cols + i]! * h(i, j) * e[r * cols + j]!;
      }
      return sum;
    };
    const of = (options: Partial<Parameters<typeof lowRankOf>[2]>) =>
      residualOf(w, withLowRank(plain, lowRankOf(residual, [rows, cols], { rank: 6, stored: 'f32', ...options })));
    const [alike, byDiagonal, byHessian] = [of({}), of({ inputs: { meansquare } }), of({ inputs: { hessian, damp: 0 } })];
    const diagonalLoss = (e: Float32Array) => lossOf(e, (i, j) => (i === j ? meansquare[i]! : 0));
    const outputLoss = (e: Float32Array) => lossOf(e, (i, j) => hessian[i * cols + j]!);
    expect(diagonalLoss(byDiagonal)).toBeLessThan(0.95 * diagonalLoss(alike));
    expect(outputLoss(byHessian)).toBeLessThan(0.7 * outputLoss(alike));
    expect(outputLoss(byHessian)).toBeLessThan(outputLoss(byDiagonal));
    const { after } = lowRankOf(residual, [rows, cols], { rank: 6, inputs: { hessian, damp: 0 } });
    expect(outputLoss(byHessian) / after).toBeCloseTo(1, 4);
  });

  it('leaves columns alone whose inputs are always zero', () => {
    const meansquare = Float32Array.from({ length: cols }, (_, c) => (c === 7 ? 0 : 1));
    const { b } = lowRankOf(residual, [rows, cols], { rank: 4, inputs: { meansquare } });
    for (let k = 0; k < 4; k++) expect(b[k * cols + 7]).toBe(0);
  });

  it('gives tiles that together are the whole, and the same factors each time', () => {
    const correction = lowRankOf(residual, [rows, cols], { rank: 5 });
    expect(lowRankOf(residual, [rows, cols], { rank: 5 })).toEqual(correction);
    const whole = dequantizeTile(withLowRank(plain, correction));
    const part = quantizeRows(w.slice(16 * cols, 32 * cols), { ...place, from: 16, to: 32 }, scheme(3));
    expect(dequantizeTile(withLowRank(part, correction))).toEqual(whole.slice(16 * cols, 32 * cols));
  });

  it('does not touch columns kept apart', () => {
    const columns = Int32Array.of(3, 40);
    const tile = quantizeApart(w, place, { columns }, { stored: 'f32', fill: { run: 32 } }, (x) =>
      quantizeRows(x, place, scheme(3)),
    );
    const decoded = dequantizeTile(withLowRank(tile, lowRankOf(residualOf(w, tile), [rows, cols], { rank: 4 })));
    for (let r = 0; r < rows; r++) for (const c of columns) expect(decoded[r * cols + c]).toBe(w[r * cols + c]);
  });

  it('in rounds (LoftQ) leaves no larger error than in one', () => {
    const of = (rounds: number) =>
      energy(
        residualOf(
          w,
          quantizeLowRank(w, [rows, cols], { rank: 8, rounds }, (x) => quantizeRows(x, place, scheme(2))),
        ),
      );
    expect(of(1)).toBeLessThan(energy(residualOf(w, quantizeRows(w, place, scheme(2)))));
    expect(of(5)).toBeLessThan(0.98 * of(1));
  });

  it('refuses ranks, statistics and Hessians that do not fit', () => {
    const of = (options: Partial<Parameters<typeof lowRankOf>[2]>) => lowRankOf(residual, [rows, cols], { rank: 4, ...options });
    expect(() => of({ rank: 49 })).toThrow('1..48');
    expect(() => of({ rank: 0 })).toThrow('not a rank');
    expect(() => of({ inputs: { meansquare: new Float32Array(3) } })).toThrow('another width');
    expect(() => of({ inputs: { hessian: new Float32Array(cols * cols) } })).toThrow('not positive definite');
    expect(() => of({ inputs: { meansquare: new Float32Array(cols).fill(-1) } })).toThrow('not a mean square');
    expect(() => lowRankOf(Float32Array.of(1, Number.NaN), [1, 2], { rank: 1 })).toThrow('NaN');
  });
});
