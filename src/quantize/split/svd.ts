/** Singular values and vectors of dense matrices in f64, the same on every platform: only operations that IEEE 754 fixes. */
import { Random } from '../../numeric/random.ts';
import { symmetricEigen } from './symmetric-eigen.ts';

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
/** Up to this many all eigenvectors of a'a cost no more than a search for some. */
const MEDIUM = 384;
/** Directions beyond the rank that are followed, so that those within it settle. */
const OVERSAMPLING = 16;
/** Change of the energy by one more block, as a share of what is left of the matrix. */
const SETTLED = 2e-4;
const MOST_BLOCKS = 12;
const SEED = 20_250_922;
/** Singular values below this share of the largest are lost in the rounding of a'a. */
const LEAST = 1e-7;

/**
 * The `rank` largest singular values and their vectors. All of a small matrix by one-sided Jacobi rotations, those of a larger one by the
 * eigenvectors of a'a, and of a large one within a block Krylov space from a fixed seed (Musco and Musco, arXiv 1504.05477) that grows until
 * what the rank leaves of the matrix settles.
 * @param a [m, n]
 */
export function truncatedSvd(a: Float64Array, m: number, n: number, rank: number): Svd {
  if (m < n) {
    const { u, s, v, rank: found } = truncatedSvd(transposed(a, m, n), n, m, rank);
    return { u: v, s, v: u, rank: found };
  }
  const wanted = Math.min(rank, n);
  if (n <= SMALL) return jacobi(a, m, n, wanted);
  return n <= MEDIUM || 3 * (wanted + OVERSAMPLING) >= n ? byGram(a, m, n, wanted) : krylov(a, m, n, wanted);
}

function byGram(a: Float64Array, m: number, n: number, rank: number): Svd {
  const { values, vectors } = symmetricEigen(gram(transposed(a, m, n), n, m), n);
  return fromVectors(values, vectors.subarray(0, rank * n), timesTransposed(a, m, n, vectors, rank), m, n, rank);
}

/** values: squares; right: rows v, [rank, n]; left: rows a v, [rank, m] */
function fromVectors(values: Float64Array, right: Float64Array, left: Float64Array, m: number, n: number, rank: number): Svd {
  const least = LEAST * Math.sqrt(Math.max(0, values[0]!));
  const lengths = Float64Array.from({ length: rank }, (_, r) => Math.sqrt(dot(left, r * m, left, r * m, m)));
  const s = lengths.map((length) => (length > least ? length : 0));
  const u = new Float64Array(m * rank);
  const v = new Float64Array(n * rank);
  for (let r = 0; r < rank; r++) {
    const by = s[r]! > 0 ? 1 / s[r]! : 0;
    for (let i = 0; i < m; i++) u[i * rank + r] = left[r * m + i]! * by;
    for (let i = 0; i < n; i++) v[i * rank + r] = right[r * n + i]!;
  }
  return { u, s, v, rank };
}

function krylov(a: Float64Array, m: number, n: number, rank: number): Svd {
  const width = rank + OVERSAMPLING;
  const most = Math.min(MOST_BLOCKS, Math.floor(n / width));
  const random = new Random(SEED);
  const total = dot(a, 0, a, 0, a.length);
  // Rows are directions: those of the inputs [., n], and what a makes of them [., m].
  const directions = new Float64Array(most * width * n);
  const images = new Float64Array(most * width * m);
  for (let i = 0; i < width * n; i++) directions[i] = random.gaussian();
  let products = new Float64Array(0); // of images, [count, count]
  let last = 0;
  for (let blocks = 1; ; blocks++) {
    const [from, count] = [(blocks - 1) * width, blocks * width];
    orthonormalize(directions, count, n, from);
    images.set(timesTransposed(a, m, n, directions.subarray(from * n, count * n), width), from * m);
    products = gram(images, count, m, products);
    const { values, vectors } = symmetricEigen(products.slice(), count);
    const energy = values.subarray(0, rank).reduce((sum, one) => sum + one, 0);
    const settled = energy - last <= SETTLED * (total - energy);
    if ((blocks > 1 && settled) || blocks === most) {
      const right = combined(vectors, rank, count, directions, n);
      return fromVectors(values, right, combined(vectors, rank, count, images, m), m, n, rank);
    }
    last = energy;
    directions.set(timesMatrix(images.subarray(from * m, count * m), width, m, a, n), count * n);
  }
}

/** Rows of x as `weights` [rank, count] add them, [rank, n]. x: [count, n] */
function combined(weights: Float64Array, rank: number, count: number, x: Float64Array, n: number): Float64Array {
  const out = new Float64Array(rank * n);
  for (let r = 0; r < rank; r++) {
    for (let c = 0; c < count; c++) {
      const by = weights[r * count + c]!;
      for (let k = 0; k < n; k++) out[r * n + k]! += by * x[c * n + k]!;
    }
  }
  return out;
}

/** x x', [count, count]. x: [count, n]; known: that of the first rows */
function gram(x: Float64Array, count: number, n: number, known = new Float64Array(0)): Float64Array<ArrayBuffer> {
  const out = new Float64Array(count * count);
  const done = Math.sqrt(known.length);
  for (let i = 0; i < done; i++) out.set(known.subarray(i * done, (i + 1) * done), i * count);
  for (let i = done; i < count; i++)
    for (let j = 0; j <= i; j++) out[i * count + j] = out[j * count + i] = dot(x, i * n, x, j * n, n);
  return out;
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

/** Gram and Schmidt, twice, from row `first` on; a direction that vanishes becomes zero. x: [count, n] */
function orthonormalize(x: Float64Array, count: number, n: number, first: number): void {
  for (let i = first; i < count; i++) {
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
