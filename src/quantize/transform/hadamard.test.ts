/** Hadamard tables and transforms as QuaRot's hadamard_utils.py has them, and random orthogonal matrices where there are none. */
import { describe, expect, it } from 'vitest';
import { RecipeError } from '../../errors.ts';
import { Random } from '../../numeric/random.ts';
import { readGolden, worst } from './golden.fixture.node.ts';
import { applyHadamard, hadamardBases, hadamardMatrix, hadamardOf } from './hadamard.ts';
import { orthogonalMatrix, randomRotation, rotationFactors, rotationMatrix, rotator } from './rotation.ts';

const golden = readGolden<{ cases: { K: number; n?: number }[] }>('quarot/hadamard');
const sizes = golden.facts.cases.filter((c) => c.n !== undefined) as { K: number; n: number }[];

describe('spcl/QuaRot 5008669', () => {
  it.each(golden.facts.cases.filter((c) => c.n === undefined).map(({ K }) => K))('table of size %i', (K) => {
    const { base, baseSize } = hadamardOf(K)!;
    expect(baseSize).toBe(K);
    expect([...base]).toEqual([...golden.tensor(`had${K}`)]);
  });

  it.each(sizes)('transform of $n channels with base $K', ({ n, K }) => {
    const hadamard = hadamardOf(n)!;
    expect(hadamard.baseSize).toBe(K);
    const forward = golden.tensor(`x.${n}`);
    const backward = forward.slice();
    applyHadamard(forward, hadamard);
    applyHadamard(backward, hadamard, true);
    expect(worst(forward, golden.tensor(`y.${n}`))).toBeLessThan(5e-6);
    expect(worst(backward, golden.tensor(`yt.${n}`))).toBeLessThan(5e-6);
  });

  it.each([64, 96])('random Hadamard matrix of size %i', (size) => {
    const signs = Int8Array.from(golden.tensor(`random_signs.${size}`));
    const q = rotationMatrix({ kind: 'hadamard', size, signs });
    expect(worst(q, golden.tensor(`random_hadamard.${size}`))).toBeLessThan(1e-7);
  });
});

describe('Hadamard matrices', () => {
  it.each([...hadamardBases, 24, 80, 1024, 768, 344])('of size %i: rows are orthogonal', (n) => {
    const h = hadamardMatrix(hadamardOf(n)!);
    for (let i = 0; i < n; i += Math.ceil(n / 40)) {
      for (let j = 0; j < n; j++) {
        let dot = 0;
        for (let c = 0; c < n; c++) dot += h[i * n + c]! * h[j * n + c]!;
        expect(dot).toBe(i === j ? n : 0);
      }
    }
  });

  it('the fast transform is the product with the matrix', () => {
    const random = new Random(1);
    for (const n of [1, 2, 12, 48, 256, 768, 56]) {
      const hadamard = hadamardOf(n)!;
      const h = hadamardMatrix(hadamard);
      const x = Float64Array.from({ length: 2 * n }, () => random.gaussian());
      const slow = (transposed: boolean) =>
        Float64Array.from(x, (_, at) => {
          const [row, i] = [Math.floor(at / n), at % n];
          let sum = 0;
          for (let j = 0; j < n; j++) sum += x[row * n + j]! * h[transposed ? j * n + i : i * n + j]!;
          return sum / Math.sqrt(n);
        });
      for (const transposed of [false, true]) {
        const fast = x.slice();
        applyHadamard(fast, hadamard, transposed);
        expect(worst(fast, slow(transposed))).toBeLessThan(1e-12);
      }
    }
  });

  it.each([0, -4, 2.5, 3, 44, 100, 11])('none of size %d', (n) => {
    expect(hadamardOf(n)).toBeUndefined();
  });
});

describe('rotations', () => {
  it.each([1, 7, 44, 100])('a random orthogonal matrix of size %i is orthogonal', (n) => {
    const q = orthogonalMatrix(n, 5);
    const product = Float64Array.from(q, (_, at) => {
      let sum = 0;
      for (let c = 0; c < n; c++) sum += q[Math.floor(at / n) * n + c]! * q[(at % n) * n + c]!;
      return sum;
    });
    expect(
      worst(
        product,
        Float64Array.from(q, (_, at) => (Math.floor(at / n) === at % n ? 1 : 0)),
      ),
    ).toBeLessThan(1e-13);
  });

  it('the inverse undoes, lengths stay, seeds repeat', () => {
    const random = new Random(9);
    for (const size of [44, 64, 96]) {
      const rotation = randomRotation(size, 3);
      expect(rotation.kind).toBe(size === 44 ? 'orthogonal' : 'hadamard');
      expect(randomRotation(size, 3)).toEqual(rotation);
      expect(rotationMatrix(randomRotation(size, 4))).not.toEqual(rotationMatrix(rotation));
      const x = Float64Array.from({ length: 3 * size }, () => random.gaussian());
      const turned = x.slice();
      const { apply } = rotator(rotation);
      apply(turned);
      const length = (y: Float64Array) => Math.hypot(...y.subarray(0, size));
      expect(worst(turned, x)).toBeGreaterThan(0.5);
      expect(length(turned) / length(x)).toBeCloseTo(1, 12);
      apply(turned, true);
      expect(worst(turned, x)).toBeLessThan(1e-13);
    }
  });

  it.each([1, 2, 12, 24, 44, 56, 172, 512, 768])('of size %i is two small products', (size) => {
    const rotation = randomRotation(size, 8);
    const { a, b, left, right, signs } = rotationFactors(rotation);
    expect(a * b).toBe(size);
    const base = hadamardOf(size)?.baseSize ?? size;
    expect(Math.max(a, b)).toBeLessThanOrEqual(Math.max(base, 2 * Math.sqrt(size)));
    const q = Float64Array.from({ length: size * size }, (_, at) => {
      // Row i of Q is left E right, where E has the sign of channel i in its place.
      const [i, j] = [Math.floor(at / size), at % size];
      return (signs?.[i] ?? 1) * left[Math.floor(j / b) * a + Math.floor(i / b)]! * right[(i % b) * b + (j % b)]!;
    });
    expect(worst(q, rotationMatrix(rotation))).toBeLessThan(1e-7);
  });

  it('refuses sizes and runs that do not fit', () => {
    expect(() => rotator({ kind: 'hadamard', size: 44 })).toThrow(RecipeError);
    expect(() => rotator({ kind: 'hadamard', size: 8, signs: new Int8Array(4) })).toThrow(RecipeError);
    expect(() => rotator({ kind: 'hadamard', size: 8 }).apply(new Float32Array(12))).toThrow(RecipeError);
  });
});
