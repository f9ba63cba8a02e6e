import { describe, expect, it } from 'vitest';
import { loadKernels } from '../../kernels/kernels.ts';
import { Random } from '../../numeric/random.ts';
import { correlatedHessian, roundedRows } from './correlated.fixture.ts';
import { descend } from './descent.ts';
import { TILE } from './factor.ts';
import { rowLosses } from './leveled-rows.ts';
import { matrixProduct, symmetricProductOf } from './products.ts';
import { slowMath } from './refine-math.ref.ts';
import { refineMath } from './refine-math.ts';

const kernels = await loadKernels();
const round = Math.fround;

function gaussian(n: number, seed: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: n }, () => random.gaussian());
}

/** One cell at a time: the sum of each 128 products by itself, then added to those before. */
function reference(a: Float32Array, b: Float32Array, k: number, n: number): Float32Array {
  return Float32Array.from({ length: (a.length / k) * n }, (_, at) => {
    const [row, column] = [Math.floor(at / n), at % n];
    let total = 0;
    for (let from = 0; from < k; from += TILE) {
      let sum = 0;
      for (let i = from; i < Math.min(from + TILE, k); i++) sum = round(sum + round(a[row * k + i]! * b[i * n + column]!));
      total = round(total + sum);
    }
    return total;
  });
}

describe('matrixProduct', () => {
  it.each([
    [1, 1, 1],
    [8, 128, 128],
    [3, 130, 5],
    [17, 300, 131],
    [9, 7, 257],
  ])('[%i, %i] x [.., %i]: the reference, bit by bit', (m, k, n) => {
    const [a, b] = [gaussian(m * k, 1), gaussian(k * n, 2)];
    expect(matrixProduct(kernels, a, b, k, n)).toEqual(reference(a, b, k, n));
  });

  it('gives a row the same bits whatever rows lie beside it, and reads shared memory', () => {
    const [m, k, n] = [21, 200, 150];
    const [a, b] = [gaussian(m * k, 3), gaussian(k * n, 4)];
    const shared = new Float32Array(new SharedArrayBuffer(b.byteLength));
    shared.set(b);
    const whole = matrixProduct(kernels, a, shared, k, n);
    for (const cuts of [
      [0, 1, 21],
      [0, 8, 13, 21],
    ]) {
      for (const [i, to] of cuts.slice(1).entries()) {
        const from = cuts[i]!;
        const part = matrixProduct(kernels, a.subarray(from * k, to * k), b, k, n);
        expect(part).toEqual(whole.subarray(from * n, to * n));
      }
    }
  });

  it('frees its memory, and what lay there before does not matter', () => {
    const [a, b] = [gaussian(3 * 130, 5), gaussian(130 * 5, 6)];
    const mark = kernels.mark();
    const clean = matrixProduct(kernels, a, b, 130, 5);
    expect(kernels.mark()).toBe(mark);
    kernels.f32(mark, 2 ** 17).fill(Number.NaN);
    expect(matrixProduct(kernels, a, b, 130, 5)).toEqual(clean);
  });

  it('refuses sizes that do not fit', () => {
    expect(() => matrixProduct(kernels, new Float32Array(7), new Float32Array(9), 3, 3)).toThrow('do not fit');
    expect(() => matrixProduct(kernels, new Float32Array(6), new Float32Array(8), 3, 3)).toThrow('do not fit');
    expect(() => matrixProduct(kernels, new Float32Array(0), new Float32Array(0), 0, 3)).toThrow('do not fit');
  });
});

describe('symmetricProductOf', () => {
  const hessian = correlatedHessian(160, 7);
  const product = symmetricProductOf(kernels);

  it('gives the losses of the slow product', () => {
    const { w, q } = roundedRows(5, 160, 32, 8);
    const slow = rowLosses(w, q, hessian, slowMath.product);
    for (const [r, loss] of rowLosses(w, q, hessian, product).entries()) expect(loss / slow[r]!).toBeCloseTo(1, 5);
  });

  it('is what refinement descends with: the kernels and the slow steps then give the same codes', () => {
    const [fast, slow] = [roundedRows(5, 160, 32, 8), roundedRows(5, 160, 32, 8)];
    const before = rowLosses(fast.w, fast.q, hessian, product).reduce((a, b) => a + b, 0);
    descend(fast.w, fast.q, hessian, { math: refineMath(kernels, product) });
    descend(slow.w, slow.q, hessian, { math: { ...slowMath, product } });
    expect(fast.q.codes).toEqual(slow.q.codes);
    const after = rowLosses(fast.w, fast.q, hessian, product).reduce((a, b) => a + b, 0);
    expect(after).toBeLessThan(0.5 * before);
  });
});
