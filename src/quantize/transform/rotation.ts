/** Orthogonal matrices as data, and their product with rows. */
import { RecipeError } from '../../errors.ts';
import { Random } from '../../numeric/random.ts';
import { applyHadamard, hadamardMatrix, hadamardOf } from './hadamard.ts';

/**
 * An orthogonal Q [size, size]; rows x become x Q.
 * hadamard: Q = diag(signs) H' / sqrt(size) (all signs + where there are none); orthogonal: uniformly random, made from a seed.
 */
export type Rotation =
  | { readonly kind: 'hadamard'; readonly size: number; readonly signs?: Int8Array }
  | { readonly kind: 'orthogonal'; readonly size: number; readonly seed: number };

/** The largest orthogonal matrix that is made without a construction: 2 GiB in f64, and its making is cubic. */
export const MAX_ORTHOGONAL = 16_384;

/**
 * A Hadamard matrix with random signs where there is one of this size, else a random orthogonal matrix.
 * @throws RecipeError where there is neither
 */
export function randomRotation(size: number, seed: number): Rotation {
  if (!hadamardOf(size)) {
    checkOrthogonal(size);
    return { kind: 'orthogonal', size, seed };
  }
  return { kind: 'hadamard', size, signs: randomSigns(size, seed) };
}

export function randomSigns(n: number, seed: number): Int8Array {
  const random = new Random(seed);
  return Int8Array.from({ length: n }, () => (random.integer(2) === 0 ? 1 : -1));
}

/** What multiplies rows by one rotation: made once, applied to many tiles. */
export interface Rotator {
  readonly size: number;
  /** Every run of `size` values x becomes x Q, with `inverse` x Q'. In place, computed in f64. */
  apply(x: Float32Array | Float64Array, inverse?: boolean): void;
}

/** @throws RecipeError for a size that has no Hadamard matrix, or signs that do not fit */
export function rotator(rotation: Rotation): Rotator {
  return rotation.kind === 'hadamard' ? hadamardRotator(rotation) : denseRotator(orthogonalMatrix(rotation.size, rotation.seed));
}

function hadamardRotator({ size, signs }: Extract<Rotation, { kind: 'hadamard' }>): Rotator {
  const hadamard = hadamardOf(size);
  if (!hadamard) throw noMatrix(size);
  if (signs && signs.length !== size) throw new RecipeError({ what: 'signs do not fit', value: signs.length, limit: size });
  const flip = (x: Float32Array | Float64Array) => {
    if (signs) for (let i = 0; i < x.length; i++) x[i]! *= signs[i % size]!;
  };
  return {
    size,
    apply(x, inverse = false) {
      checkRuns(x, size);
      if (!inverse) flip(x);
      applyHadamard(x, hadamard, inverse);
      if (inverse) flip(x);
    },
  };
}

function denseRotator(q: Float64Array): Rotator {
  const size = Math.sqrt(q.length);
  const transposed = Float64Array.from(q, (_, at) => q[(at % size) * size + Math.floor(at / size)]!);
  const product = new Float64Array(size);
  return {
    size,
    apply(x, inverse = false) {
      checkRuns(x, size);
      const matrix = inverse ? transposed : q;
      for (let at = 0; at < x.length; at += size) {
        product.fill(0);
        for (let k = 0; k < size; k++) {
          const value = x[at + k]!;
          for (let j = 0, cell = k * size; j < size; j++, cell++) product[j]! += value * matrix[cell]!;
        }
        x.set(product, at);
      }
    },
  };
}

/**
 * Rotates values that lie `stride` apart: each run of size * stride values is a matrix [size, stride] whose columns turn. With the
 * channels of a head as stride, that mixes heads. In place.
 */
export function applyStrided({ size, apply }: Rotator, x: Float32Array | Float64Array, stride: number): void {
  if (stride === 1) {
    apply(x);
    return;
  }
  const run = size * stride;
  checkRuns(x, run);
  const turned = new Float64Array(run); // [stride, size]
  for (let at = 0; at < x.length; at += run) {
    for (let i = 0; i < run; i++) turned[(i % stride) * size + Math.floor(i / stride)] = x[at + i]!;
    apply(turned);
    for (let i = 0; i < run; i++) x[at + i] = turned[(i % stride) * size + Math.floor(i / stride)]!;
  }
}

function checkRuns(x: { length: number }, size: number): void {
  if (x.length % size !== 0)
    throw new RecipeError({ what: 'values do not split into runs of a rotation', value: x.length, limit: size });
}

/** Q itself, [size, size] in f64. */
export function rotationMatrix(rotation: Rotation): Float64Array {
  const { size } = rotation;
  const q = new Float64Array(size * size);
  for (let i = 0; i < size; i++) q[i * size + i] = 1;
  rotator(rotation).apply(q);
  return q;
}

/** x Q as two small products: with X = reshape(x signs, [a, b]), it is left X right. Of an orthogonal matrix a = 1. */
export interface RotationFactors {
  readonly a: number;
  readonly b: number;
  /** [a, a] */
  readonly left: Float32Array;
  /** [b, b] */
  readonly right: Float32Array;
  /** [a b] */
  readonly signs?: Int8Array;
}

/** For runtimes that have matrix products only: of a Hadamard matrix a and b are as near to each other as its base allows. */
export function rotationFactors(rotation: Rotation): RotationFactors {
  const { size } = rotation;
  if (rotation.kind === 'orthogonal')
    return { a: 1, b: size, left: Float32Array.of(1), right: Float32Array.from(rotationMatrix(rotation)) };
  const hadamard = hadamardOf(size);
  if (!hadamard) throw noMatrix(size);
  let a = hadamard.baseSize;
  while (a * a < size) a *= 2;
  const [left, right] = [
    { ...hadamard, size: a },
    { size: size / a, baseSize: 1, base: Int8Array.of(1) },
  ].map((factor) => Float32Array.from(hadamardMatrix(factor), (sign) => sign / Math.sqrt(factor.size)));
  return { a, b: size / a, left: left!, right: right!, ...(rotation.signs && { signs: rotation.signs }) };
}

function noMatrix(size: number): RecipeError {
  return new RecipeError({
    what: 'there is no Hadamard matrix of this size',
    value: size,
    next: 'rotate by a random orthogonal one',
  });
}

/**
 * A random orthogonal matrix [n, n], uniform by Haar's measure: Q of the QR decomposition of a gaussian matrix whose R has a positive
 * diagonal. Gram-Schmidt on rows, each projected out twice.
 * @throws RecipeError for n above `MAX_ORTHOGONAL`
 */
export function orthogonalMatrix(n: number, seed: number): Float64Array {
  checkOrthogonal(n);
  const random = new Random(seed);
  const q = Float64Array.from({ length: n * n }, () => random.gaussian());
  for (let i = 0; i < n; i++) {
    const row = q.subarray(i * n, (i + 1) * n);
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < i; j++) {
        const other = q.subarray(j * n, (j + 1) * n);
        const share = dot(row, other);
        for (let c = 0; c < n; c++) row[c]! -= share * other[c]!;
      }
    }
    const length = Math.sqrt(dot(row, row));
    for (let c = 0; c < n; c++) row[c]! /= length;
  }
  return q;
}

function checkOrthogonal(size: number): void {
  if (Number.isInteger(size) && size >= 1 && size <= MAX_ORTHOGONAL) return;
  throw new RecipeError({
    what: 'a random orthogonal matrix of this size takes too long',
    value: size,
    limit: MAX_ORTHOGONAL,
    next: 'leave this rotation out',
  });
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
