/** Singular values and vectors of dense matrices in f64, the same on every platform: only operations that IEEE 754 fixes. */
import { Random } from '../../numeric/random.ts';

/** a ≈ u diag(s) v', singular values descending. */
export interface Svd {
  /** [m, rank] */
  u: Float64Array;
  /** [rank] */
  s: Float64Array;
  /** [n, rank] */
  v: Float64Array;
  rank: number;
}

/** Up to this many columns rotations of all pairs are the quickest. */
const SMALL = 96;
/** Directions beyond the rank that are followed, so that those within it settle. */
const OVERSAMPLING = 16;
const ITERATIONS = 40;
/** Relative change of the energy from one iteration to the next. */
const SETTLED = 1e-6;
const SEED = 20_250_922;

/**
 * The `rank` largest singular values and their vectors: all of a small matrix by one-sided Jacobi rotations, of a larger one by
 * subspace iteration from a fixed seed (Halko, Martinsson and Tropp, arXiv 0909.4061, section 4.5) until their energy settles.
 * @param a [m, n]
 */
export function truncatedSvd(a: Float64Array, m: number, n: number, rank: number): Svd {
  if (m < n) {
    const { u, s, v, rank: found } = truncatedSvd(transposed(a, m, n), n, m, rank);
    return { u: v, s, v: u, rank: found };
  }
  const wanted = Math.min(rank, n);
  return n <= SMALL || wanted + OVERSAMPLING >= n ? jacobi(a, m, n, wanted) : subspace(a, m, n, wanted);
}

function subspace(a: Float64Array, m: number, n: number, rank: number): Svd {
  const width = rank + OVERSAMPLING;
  const random = new Random(SEED);
  let q: Float64Array = Float64Array.from({ length: width * n }, () => random.gaussian()); // rows are directions, [width, n]
  orthonormalize(q, width, n);
  let last = 0;
  for (let i = 0; ; i++) {
    const left = timesTransposed(a, m, n, q, width); // [width, m]
    const energy = energyOf(left, m, rank);
    const settled = Math.abs(energy - last) <= SETTLED * energy || i === ITERATIONS;
    last = energy;
    orthonormalize(left, width, m);
    q = timesMatrix(left, width, m, a, n); // [width, n]
    if (settled) return within(left, q, m, n, width, rank);
    orthonormalize(q, width, n);
  }
}

/** The singular values of a among the directions left [width, m]; right = left a, [width, n]. */
function within(left: Float64Array, right: Float64Array, m: number, n: number, width: number, rank: number): Svd {
  const { u, s, v } = jacobi(transposed(right, width, n), n, width, rank); // right' = u s v', so that left' right = (left' v) s u'
  const rotated = new Float64Array(m * rank);
  for (let w = 0; w < width; w++) {
    for (let i = 0; i < m; i++) {
      const value = left[w * m + i]!;
      for (let r = 0; r < rank; r++) rotated[i * rank + r]! += value * v[w * rank + r]!;
    }
  }
  return { u: rotated, s, v: u, rank };
}

/** The sum of the `rank` largest squared lengths of the directions [width, m]: those of the singular values, where they settle. */
function energyOf(directions: Float64Array, m: number, rank: number): number {
  const width = directions.length / m;
  const lengths = Float64Array.from({ length: width }, (_, w) => dot(directions, w * m, directions, w * m, m));
  return lengths
    .sort()
    .slice(width - rank)
    .reduce((sum, l) => sum + l, 0);
}

/** One-sided Jacobi: rotates pairs of columns until all are orthogonal. a: [m, n] */
function jacobi(a: Float64Array, m: number, n: number, rank: number): Svd {
  const columns = transposed(a, m, n); // [n, m]
  const turns = new Float64Array(n * n);
  for (let i = 0; i < n; i++) turns[i * n + i] = 1;
  for (let sweep = 0; sweep < 60; sweep++) {
    let turned = false;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        const pp = dot(columns, p * m, columns, p * m, m);
        const qq = dot(columns, q * m, columns, q * m, m);
        const pq = dot(columns, p * m, columns, q * m, m);
        if (Math.abs(pq) <= 1e-14 * Math.sqrt(pp * qq) || pq === 0) continue;
        turned = true;
        const zeta = (qq - pp) / (2 * pq);
        const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
        const cosine = 1 / Math.sqrt(1 + tangent * tangent);
        turn(columns, p * m, q * m, m, cosine, cosine * tangent);
        turn(turns, p * n, q * n, n, cosine, cosine * tangent);
      }
    }
    if (!turned) break;
  }
  const lengths = Float64Array.from({ length: n }, (_, c) => Math.sqrt(dot(columns, c * m, columns, c * m, m)));
  const order = Array.from(lengths.keys()).sort((x, y) => lengths[y]! - lengths[x]! || x - y);
  const s = Float64Array.from({ length: rank }, (_, r) => lengths[order[r]!]!);
  const u = Float64Array.from({ length: m * rank }, (_, i) => {
    const length = s[i % rank]!;
    return length > 0 ? columns[order[i % rank]! * m + Math.floor(i / rank)]! / length : 0;
  });
  const v = Float64Array.from({ length: n * rank }, (_, i) => turns[order[i % rank]! * n + Math.floor(i / rank)]!);
  return { u, s, v, rank };
}

function turn(x: Float64Array, p: number, q: number, n: number, cosine: number, sine: number): void {
  for (let i = 0; i < n; i++) {
    const a = x[p + i]!;
    const b = x[q + i]!;
    x[p + i] = cosine * a - sine * b;
    x[q + i] = sine * a + cosine * b;
  }
}

/** Gram and Schmidt, twice; a direction that vanishes becomes zero. x: [count, n] */
function orthonormalize(x: Float64Array, count: number, n: number): void {
  for (let i = 0; i < count; i++) {
    const start = Math.sqrt(dot(x, i * n, x, i * n, n));
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < i; j++) {
        const share = dot(x, i * n, x, j * n, n);
        for (let k = 0; k < n; k++) x[i * n + k]! -= share * x[j * n + k]!;
      }
    }
    const length = Math.sqrt(dot(x, i * n, x, i * n, n));
    const inverse = length > 1e-12 * start ? 1 / length : 0;
    for (let k = 0; k < n; k++) x[i * n + k]! *= inverse;
  }
}

/** q a', [width, m]. a: [m, n], q: [width, n] */
function timesTransposed(a: Float64Array, m: number, n: number, q: Float64Array, width: number): Float64Array {
  const out = new Float64Array(width * m);
  for (let i = 0; i < m; i++) for (let w = 0; w < width; w++) out[w * m + i] = dot(a, i * n, q, w * n, n);
  return out;
}

/** q a, [width, n]. q: [width, m], a: [m, n] */
function timesMatrix(q: Float64Array, width: number, m: number, a: Float64Array, n: number): Float64Array {
  const out = new Float64Array(width * n);
  for (let i = 0; i < m; i++) {
    for (let w = 0; w < width; w++) {
      const factor = q[w * m + i]!;
      for (let k = 0; k < n; k++) out[w * n + k]! += factor * a[i * n + k]!;
    }
  }
  return out;
}

/** Four sums: each addition waits only for every fourth. */
function dot(a: Float64Array, at: number, b: Float64Array, other: number, n: number): number {
  let [s, t, u, v] = [0, 0, 0, 0];
  const end = n - (n % 4);
  for (let i = 0; i < end; i += 4) {
    s += a[at + i]! * b[other + i]!;
    t += a[at + i + 1]! * b[other + i + 1]!;
    u += a[at + i + 2]! * b[other + i + 2]!;
    v += a[at + i + 3]! * b[other + i + 3]!;
  }
  for (let i = end; i < n; i++) s += a[at + i]! * b[other + i]!;
  return s + t + (u + v);
}

function transposed(a: Float64Array, m: number, n: number): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) out[j * m + i] = a[i * n + j]!;
  return out;
}
