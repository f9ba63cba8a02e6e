/**
 * The iteration of HQQ (Badri and Shaji, Half-Quadratic Quantization, Mobius Labs 2023): codes, the part of the errors that a norm
 * below 1 leaves to outliers, and the zero that is then best, in turn. The scale stays. As hqq's `optimize_weights_proximal`, in f32.
 */
import { HALF_EVEN } from '../codes.ts';

const { fround } = Math;

/** x̂ = (q - zero) / inverse, q = clamp(round(x inverse + zero)); zero is not an integer. */
export interface ZeroedStep {
  inverse: number;
  zero: number;
}

/** Values at from, from + stride, ... */
export interface Strided {
  from: number;
  count: number;
  stride: number;
}

export interface ShrinkOptions {
  /** p of the norm of the errors, in (0, 1]. */
  norm: number;
  beta: number;
}

/** hqq's defaults; its default solver leaves beta as it is. */
export const shrinkDefaults: ShrinkOptions = { norm: 0.7, beta: 10 };

/** Ranges up to this wide count as one value. */
const NARROW = 1e-4;
/** So that 1 / inverse is no f16 subnormal. */
const MOST_INVERSE = 2e4;

/** The step that reaches from the smallest to the largest value. most: the largest code. */
export function reachingStep(x: Float32Array, { from, count, stride }: Strided, most: number): ZeroedStep {
  let min = x[from]!;
  let max = min;
  for (let i = 1, at = from + stride; i < count; i++, at += stride) {
    const value = x[at]!;
    if (value < min) min = value;
    else if (value > max) max = value;
  }
  const reach = fround(max - min);
  // torch divides a number by a tensor as number * (1 / tensor).
  const inverse = reach <= NARROW ? 1 : Math.min(fround(most * fround(1 / reach)), MOST_INVERSE);
  return { inverse, zero: fround(fround(-min) * inverse) };
}

/** One iteration: Σ |x - x̂| before it, and the next zero. most: the largest code. */
export function improveZero(
  x: Float32Array,
  { from, count, stride }: Strided,
  { inverse, zero }: ZeroedStep,
  most: number,
  { norm, beta }: ShrinkOptions,
): { error: number; zero: number } {
  const share = fround(1 / beta);
  // Below this, e <= e^(p - 1) / beta, nothing is left, at 0 too, where the power is infinite. With some room for f32.
  const small = 0.99 * share ** (1 / (2 - norm));
  let error = 0;
  let sum = 0;
  for (let i = 0, at = from; i < count; i++, at += stride) {
    const value = x[at]!;
    const q = codeOf(value, inverse, zero, most);
    const e = fround(value - fround(fround(q - zero) / inverse));
    const size = Math.abs(e);
    error += size;
    const left = size < small ? 0 : fround(size - fround(share * fround(size ** (norm - 1))));
    const kept = left > 0 ? (e < 0 ? -left : left) : 0;
    sum += fround(q - fround(fround(value - kept) * inverse));
  }
  return { error, zero: fround(sum / count) };
}

/** The code of a value, 0..most. */
export function codeOf(value: number, inverse: number, zero: number, most: number): number {
  const q = fround(fround(value * inverse) + zero) + HALF_EVEN - HALF_EVEN;
  return q < 0 ? 0 : Math.min(q, most);
}
