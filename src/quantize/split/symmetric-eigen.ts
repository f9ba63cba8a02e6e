/**
 * Eigenvalues and vectors of a symmetric matrix in f64: Householder's tridiagonal form, then QL with implicit shifts (EISPACK's tred2 and
 * tql2, as JAMA has them). Only operations that IEEE 754 fixes: the same on every platform.
 */
import { NumericError } from '../../errors.ts';

export interface Eigen {
  /** Descending, [n]. */
  values: Float64Array;
  /** Row i is the vector of value i, [n, n]. */
  vectors: Float64Array;
}

/** Steps of one eigenvalue: three are usual. */
const MOST_STEPS = 100;

/** @param a [n, n], symmetric; used up @throws NumericError for values that are not finite */
export function symmetricEigen(a: Float64Array, n: number): Eigen {
  const diagonal = new Float64Array(n);
  const beside = new Float64Array(n);
  tridiagonal(a, diagonal, beside, n);
  iterate(a, diagonal, beside, n);
  const order = Array.from(diagonal.keys()).sort((x, y) => diagonal[y]! - diagonal[x]! || x - y);
  const vectors = new Float64Array(n * n);
  for (const [i, from] of order.entries()) vectors.set(a.subarray(from * n, (from + 1) * n), i * n);
  return { values: Float64Array.from(order, (i) => diagonal[i]!), vectors };
}

/** v becomes the rotations' product, its columns lie one after another; d the diagonal, e[1..] what is beside it. */
function tridiagonal(v: Float64Array, d: Float64Array, e: Float64Array, n: number): void {
  for (let j = 0; j < n; j++) d[j] = v[j * n + n - 1]!;
  for (let i = n - 1; i > 0; i--) {
    let scale = 0;
    let h = 0;
    for (let k = 0; k < i; k++) scale += Math.abs(d[k]!);
    if (scale === 0) {
      e[i] = d[i - 1]!;
      for (let j = 0; j < i; j++) {
        d[j] = v[j * n + i - 1]!;
        v[j * n + i] = 0;
        v[i * n + j] = 0;
      }
    } else {
      for (let k = 0; k < i; k++) {
        d[k]! /= scale;
        h += d[k]! * d[k]!;
      }
      const f = d[i - 1]!;
      const g = f > 0 ? -Math.sqrt(h) : Math.sqrt(h);
      e[i] = scale * g;
      h -= f * g;
      d[i - 1] = f - g;
      reflect(v, d, e, n, i, h);
    }
    d[i] = h;
  }
  accumulate(v, d, n);
  e[0] = 0;
}

/** Applies the reflection along d[0..i) to the leading block, of which the lower triangle is kept. */
function reflect(v: Float64Array, d: Float64Array, e: Float64Array, n: number, i: number, h: number): void {
  e.fill(0, 0, i);
  for (let j = 0; j < i; j++) {
    const f = d[j]!;
    const column = j * n;
    v[i * n + j] = f;
    let g = e[j]! + v[column + j]! * f;
    for (let k = j + 1; k < i; k++) {
      const one = v[column + k]!;
      g += one * d[k]!;
      e[k]! += one * f;
    }
    e[j] = g;
  }
  let f = 0;
  for (let j = 0; j < i; j++) {
    e[j]! /= h;
    f += e[j]! * d[j]!;
  }
  const share = f / (h + h);
  for (let j = 0; j < i; j++) e[j]! -= share * d[j]!;
  for (let j = 0; j < i; j++) {
    const [p, q, column] = [d[j]!, e[j]!, j * n];
    for (let k = j; k < i; k++) v[column + k]! -= p * e[k]! + q * d[k]!;
    d[j] = v[column + i - 1]!;
    v[column + i] = 0;
  }
}

function accumulate(v: Float64Array, d: Float64Array, n: number): void {
  for (let i = 0; i < n - 1; i++) {
    v[i * n + n - 1] = v[i * n + i]!;
    v[i * n + i] = 1;
    const h = d[i + 1]!;
    const next = (i + 1) * n;
    if (h !== 0) {
      for (let k = 0; k <= i; k++) d[k] = v[next + k]! / h;
      for (let j = 0; j <= i; j++) {
        const column = j * n;
        let g = 0;
        for (let k = 0; k <= i; k++) g += v[next + k]! * v[column + k]!;
        for (let k = 0; k <= i; k++) v[column + k]! -= g * d[k]!;
      }
    }
    for (let k = 0; k <= i; k++) v[next + k] = 0;
  }
  for (let j = 0; j < n; j++) {
    d[j] = v[j * n + n - 1]!;
    v[j * n + n - 1] = 0;
  }
  v[n * n - 1] = 1;
}

function iterate(v: Float64Array, d: Float64Array, e: Float64Array, n: number): void {
  for (let i = 1; i < n; i++) e[i - 1] = e[i]!;
  e[n - 1] = 0;
  let shift = 0;
  let largest = 0;
  for (let l = 0; l < n; l++) {
    largest = Math.max(largest, Math.abs(d[l]!) + Math.abs(e[l]!));
    let m = l;
    while (m < n - 1 && !(Math.abs(e[m]!) <= Number.EPSILON * largest)) m++;
    for (let steps = 0; m > l; steps++) {
      if (steps === MOST_STEPS) throw new NumericError({ what: 'eigenvalues do not settle', value: `${largest}` });
      shift += step(v, d, e, n, l, m);
      if (Math.abs(e[l]!) <= Number.EPSILON * largest) break;
    }
    d[l]! += shift;
    e[l] = 0;
  }
}

/** One QL step on rows l..m; returns what was taken off the diagonal. */
function step(v: Float64Array, d: Float64Array, e: Float64Array, n: number, l: number, m: number): number {
  const g = d[l]!;
  let p = (d[l + 1]! - g) / (2 * e[l]!);
  const root = Math.sqrt(p * p + 1);
  const r = p < 0 ? -root : root;
  d[l] = e[l]! / (p + r);
  d[l + 1] = e[l]! * (p + r);
  const next = d[l + 1]!;
  const shift = g - d[l]!;
  for (let i = l + 2; i < n; i++) d[i]! -= shift;
  p = d[m]!;
  let [c, c2, c3, s, s2] = [1, 1, 1, 0, 0];
  const after = e[l + 1]!;
  for (let i = m - 1; i >= l; i--) {
    [c3, c2, s2] = [c2, c, s];
    const product = c * e[i]!;
    const h = c * p;
    const length = Math.sqrt(p * p + e[i]! * e[i]!);
    e[i + 1] = s * length;
    s = length === 0 ? 0 : e[i]! / length;
    c = length === 0 ? 1 : p / length;
    p = c * d[i]! - s * product;
    d[i + 1] = h + s * (c * product + s * d[i]!);
    const [low, high] = [i * n, (i + 1) * n];
    for (let k = 0; k < n; k++) {
      const x = v[high + k]!;
      const y = v[low + k]!;
      v[high + k] = s * y + c * x;
      v[low + k] = c * y - s * x;
    }
  }
  p = (-s * s2 * c3 * after * e[l]!) / next;
  e[l] = s * p;
  d[l] = c * p;
  return shift;
}
