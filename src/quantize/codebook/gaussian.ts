/**
 * The levels of least squared error for a normal distribution (Max, Quantizing for minimum distortion, 1960; Lloyd, 1982): every level
 * is the mean of its interval, every border the middle of two levels.
 */

/**
 * Levels of the unit gaussian, ascending and symmetric, [2^bits]; bits 1..8. Newton's method, held back where the error would rise; the
 * optimum is unique because the logarithm of the density is concave.
 */
export function gaussianLevels(bits: number): Float64Array {
  const half = 2 ** (bits - 1);
  // Panter and Dite: good levels are as dense as a gaussian of variance 3.
  let a = Float64Array.from({ length: half }, (_, i) => Math.sqrt(3) * quantile(0.5 + (i + 0.5) / (2 * half)));
  let error = gaussianError(mirrored(a));
  for (let round = 0, caution = 1; round < 500; round++) {
    const step = newtonStep(a, caution);
    const size = step.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const next = a.map((value, i) => value + step[i]!);
    const nextError = next.every((value, i) => value > (i === 0 ? 0 : next[i - 1]!)) ? gaussianError(mirrored(next)) : error;
    if (nextError < error) {
      a = next;
      error = nextError;
      caution /= 4;
    } else {
      caution *= 2;
    }
    if (size < 1e-6) break;
  }
  // So near to the optimum the error no longer tells steps apart, and Newton's steps need no care.
  for (let round = 0; round < 4; round++) {
    const step = newtonStep(a, 0);
    a = a.map((value, i) => value + step[i]!);
  }
  return mirrored(a);
}

function mirrored(a: Float64Array): Float64Array {
  const half = a.length;
  return Float64Array.from({ length: 2 * half }, (_, i) => (i < half ? -a[half - 1 - i]! : a[i - half]!));
}

/** Mean squared error of a unit gaussian on ascending levels with borders in their middles. */
export function gaussianError(levels: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < levels.length; i++) {
    const low = i === 0 ? Number.NEGATIVE_INFINITY : (levels[i - 1]! + levels[i]!) / 2;
    const high = i === levels.length - 1 ? Number.POSITIVE_INFINITY : (levels[i]! + levels[i + 1]!) / 2;
    const a = levels[i]!;
    // ∫ (x - a)² φ = [-x φ + 2 a φ] + (1 + a²) ∫ φ
    sum += (1 + a * a) * mass(low, high) + edge(high, a) - edge(low, a);
  }
  return sum;
}

function edge(x: number, a: number): number {
  return Number.isFinite(x) ? (2 * a - x) * density(x) : 0;
}

/**
 * Solves (J - caution P) d = -f, f_i = ∫ (x - a_i) φ over the interval of level i of the positive half, P its mass; J is tridiagonal.
 * Much caution gives a short step of Lloyd's iteration.
 */
function newtonStep(a: Float64Array, caution: number): Float64Array {
  const n = a.length;
  const border = (i: number) => (i === 0 ? 0 : i === n ? Number.POSITIVE_INFINITY : (a[i - 1]! + a[i]!) / 2);
  const below = new Float64Array(n);
  const middle = new Float64Array(n);
  const above = new Float64Array(n);
  const right = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    const low = border(i);
    const high = border(i + 1);
    const atLow = density(low);
    const atHigh = Number.isFinite(high) ? density(high) : 0;
    const p = mass(low, high);
    right[i] = -(atLow - atHigh - a[i]! * p);
    // Moving a border changes the integral by the integrand there; half of each level moves its border.
    const byHigh = Number.isFinite(high) ? (high - a[i]!) * atHigh * 0.5 : 0;
    const byLow = i === 0 ? 0 : -(low - a[i]!) * atLow * 0.5;
    middle[i] = -p * (1 + caution) + byHigh + byLow;
    above[i] = byHigh;
    below[i] = byLow;
  }
  for (let i = 1; i < n; i++) {
    const factor = below[i]! / middle[i - 1]!;
    middle[i]! -= factor * above[i - 1]!;
    right[i]! -= factor * right[i - 1]!;
  }
  for (let i = n - 1; i >= 0; i--) right[i] = (right[i]! - (i + 1 < n ? above[i]! * right[i + 1]! : 0)) / middle[i]!;
  return right;
}

function density(x: number): number {
  return Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
}

/** P(low < X < high); tails are subtracted on the side where they are small. */
function mass(low: number, high: number): number {
  if (low >= 0) return upperTail(low) - upperTail(high);
  if (high <= 0) return upperTail(-high) - upperTail(-low);
  return 1 - upperTail(high) - upperTail(-low);
}

/** P(X > x) for x >= 0: the series of the integral up to 3, then Laplace's continued fraction. */
function upperTail(x: number): number {
  if (x === Number.POSITIVE_INFINITY) return 0;
  if (x < 3) {
    let term = x;
    let sum = x;
    for (let n = 1; term > sum * 1e-17 && n < 200; n++) {
      term *= (x * x) / (2 * n + 1);
      sum += term;
    }
    return 0.5 - density(x) * sum;
  }
  let fraction = x;
  for (let n = 120; n >= 1; n--) fraction = x + n / fraction;
  return density(x) / fraction;
}

/** The x with P(X < x) = p for p in [0.5, 1), by halving. */
function quantile(p: number): number {
  let low = 0;
  let high = 40;
  for (let i = 0; i < 60; i++) {
    const x = (low + high) / 2;
    if (upperTail(x) > 1 - p) low = x;
    else high = x;
  }
  return low;
}
