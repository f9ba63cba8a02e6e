/**
 * The slow, obvious twins of assembly/divergence.ts: the same f32 steps one value at a time, so that tests can compare bit by bit.
 * Rows are given without padding: a padded value adds nothing to any sum.
 */
const f = Math.fround;

const LN2_HIGH = f(0.693359375);
const LN2_LOW = f(-2.1219444e-4);
const LOG2_E = f(Math.LOG2E);
const EXP_FLOOR = -87;
const EXP_POLYNOMIAL = [1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1];
/** (u + e^-u - 1) / u^2, highest power first. */
const KL_POLYNOMIAL = [-1 / 5040, 1 / 720, -1 / 120, 1 / 24, -1 / 6, 0.5];

function horner(polynomial: readonly number[], x: number): number {
  return polynomial.reduce((sum, c) => f(f(sum * x) + f(c)), 0);
}

/** e^x in f32 for x <= 0; 0 below -87. */
export function expNegative(x: number): number {
  if (x < EXP_FLOOR) return 0;
  // Adding and taking away 1.5 * 2^23 rounds an f32 to an integer, half to even.
  const n = f(f(f(x * LOG2_E) + 12582912) - 12582912);
  const r = f(f(x - f(n * LN2_HIGH)) - f(n * LN2_LOW));
  const e = f(f(f(horner(EXP_POLYNOMIAL, r) * f(r * r)) + r) + 1);
  return f(e * 2 ** n);
}

/** Four sums in turn, as the lanes of the kernel. */
function sumInLanes(terms: ArrayLike<number>): number {
  const lane = [0, 0, 0, 0];
  for (let i = 0; i < terms.length; i++) lane[i & 3]! += terms[i]!;
  return lane[0]! + lane[1]! + (lane[2]! + lane[3]!);
}

/** Runs of 16: four lanes of four f32 values each, then as `sumInLanes`. */
function sumInRuns(terms: Float32Array): number {
  const runs = new Float32Array(Math.ceil(terms.length / 16) * 4);
  for (let i = 0; i < runs.length; i++) {
    const first = (i >> 2) * 16 + (i & 3);
    const [a, b, c, d] = [0, 4, 8, 12].map((step) => terms[first + step] ?? 0) as [number, number, number, number];
    runs[i] = f(f(a + b) + f(c + d));
  }
  return sumInLanes(runs);
}

export interface SoftmaxRow {
  /** [vocab], e^(logit - max). */
  exps: Float32Array;
  max: number;
  /** Sum of the exps; NaN where a logit is. */
  sum: number;
  /** Index of the first maximum. */
  argmax: number;
}

/** logits: [vocab] */
export function softmaxRow(logits: Float32Array): SoftmaxRow {
  const max = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const exps = logits.map((x) => expNegative(f(x - max)));
  return { exps, max, sum: sumInRuns(exps), argmax: logits.indexOf(max) };
}

/** KL(softmax(x) || softmax(y)) in nats; x, y: [vocab] logits; shift = logsumexp(x) - logsumexp(y). */
export function klRow(x: Float32Array, y: Float32Array, shift: number): number {
  const sx = softmaxRow(x);
  const sy = softmaxRow(y);
  const toP = f(1 / sx.sum);
  const toQ = f(1 / sy.sum);
  const terms = x.map((xi, i) => {
    const p = f(sx.exps[i]! * toP);
    const q = f(sy.exps[i]! * toQ);
    const u = f(f(xi - y[i]!) - f(shift));
    if (Math.abs(u) < 0.25) return f(f(p * f(u * u)) * horner(KL_POLYNOMIAL, u));
    return f((p === 0 ? 0 : f(p * u)) + f(q - p));
  });
  return sumInRuns(terms);
}

/** x, y: [n] -> [sum x^2, sum y^2, sum (x - y)^2, sum x y, max |x - y|] */
export function errorSums(x: Float32Array, y: Float32Array): number[] {
  const pairs = Array.from(x, (a, i) => [a, y[i]!] as const);
  const whole = x.length & ~3;
  const sum = (term: (a: number, b: number) => number): number => {
    const terms = pairs.map(([a, b]) => term(a, b));
    return terms.slice(whole).reduce((total, t) => total + t, sumInLanes(terms.slice(0, whole)));
  };
  return [
    sum((a) => a * a),
    sum((_, b) => b * b),
    sum((a, b) => (a - b) * (a - b)),
    sum((a, b) => a * b),
    pairs.reduce((most, [a, b]) => Math.max(most, Math.abs(a - b)), 0),
  ];
}
