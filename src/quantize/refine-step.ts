import { codeOf, type Strided, type ZeroedStep } from './range/half-quadratic.ts';

const ROUNDS = 10;

/**
 * Refits scale and zero to their codes by reweighted least squares for Σ |x - x̂|^p, takes codes anew, and keeps what lowers that
 * sum: a descent on a group whose step already has a good zero. HQQ itself leaves the scale alone. most: the largest code
 */
export function refineStep(x: Float32Array, group: Strided, start: ZeroedStep, most: number, p: number): ZeroedStep {
  let best = start;
  let least = normOf(x, group, start, most, p);
  for (let round = 0; round < ROUNDS && least > 0; round++) {
    const next = refit(x, group, best, most, p);
    if (!next) break;
    const error = normOf(x, group, next, most, p);
    if (!(error < least)) break;
    best = next;
    least = error;
  }
  return best;
}

/** Σ |x - x̂|^p with the codes nearest by this step. */
export function normOf(x: Float32Array, { from, count, stride }: Strided, step: ZeroedStep, most: number, p: number): number {
  let sum = 0;
  for (let i = 0, at = from; i < count; i++, at += stride) {
    const q = codeOf(x[at]!, step.inverse, step.zero, most);
    sum += Math.abs(x[at]! - (q - step.zero) / step.inverse) ** p;
  }
  return sum;
}

/** The step of least Σ v (x - s q - m)² with v = |error now|^(p - 2), bounded where the error is small. */
function refit(
  x: Float32Array,
  { from, count, stride }: Strided,
  step: ZeroedStep,
  most: number,
  p: number,
): ZeroedStep | undefined {
  const floor = 0.01 / step.inverse;
  let [n, sq, sqq, sx, sqx] = [0, 0, 0, 0, 0];
  for (let i = 0, at = from; i < count; i++, at += stride) {
    const value = x[at]!;
    const q = codeOf(value, step.inverse, step.zero, most);
    const v = Math.max(Math.abs(value - (q - step.zero) / step.inverse), floor) ** (p - 2);
    n += v;
    sq += v * q;
    sqq += v * q * q;
    sx += v * value;
    sqx += v * q * value;
  }
  const determinant = n * sqq - sq * sq;
  const scale = (n * sqx - sq * sx) / determinant;
  const minimum = (sx * sqq - sq * sqx) / determinant;
  const inverse = Math.fround(1 / scale);
  return determinant > 0 && scale > 0 && Number.isFinite(inverse) ? { inverse, zero: Math.fround(-minimum / scale) } : undefined;
}
