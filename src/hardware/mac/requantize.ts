/**
 * From accumulators to codes of the next layer: y = clamp(round(A s_w s_x / s_y) + z_y). With floats, or as integers do it: the factor is
 * a 31-bit fraction and a power of two (Jacob et al., arXiv 1712.05877, section 2.2; gemmlowp's SaturatingRoundingDoublingHighMul and
 * RoundingDivideByPOT, TFLite's QuantizeMultiplier).
 */
import { NumericError } from '../../errors.ts';
import { halfEven } from '../../numeric/index.ts';
import { codeRange } from './accumulate.ts';
import type { IntegerCodes } from './types.ts';

export interface FixedPoint {
  /** In [2^30, 2^31): the fraction times 2^31. 0 for the factor 0. */
  multiplier: number;
  /** The factor is multiplier x 2^(shift - 31). */
  shift: number;
}

/** TFLite's QuantizeMultiplier. @throws NumericError for a factor below 0 or above 2^30, or not finite */
export function fixedPointOf(factor: number): FixedPoint {
  if (!(factor >= 0 && factor < 2 ** 30)) throw new NumericError({ what: 'not a factor of a requantization', value: factor });
  if (factor === 0) return { multiplier: 0, shift: 0 };
  let shift = Math.floor(Math.log2(factor)) + 1;
  // Math.log2 may be off next to powers of two.
  while (factor >= 2 ** shift) shift++;
  while (factor < 2 ** (shift - 1)) shift--;
  let multiplier = Math.round((factor / 2 ** shift) * 2 ** 31);
  if (multiplier === 2 ** 31) {
    multiplier = 2 ** 30;
    shift++;
  }
  return shift < -31 ? { multiplier: 0, shift: 0 } : { multiplier, shift };
}

const [int32Least, int32Most] = [-(2n ** 31n), 2n ** 31n - 1n];

/** The rounded product of an int32 and the factor, an int32. @throws NumericError for what is no int32 before or after the power of two */
export function multiplyByFixedPoint(accumulator: number, { multiplier, shift }: FixedPoint): number {
  if (!Number.isInteger(accumulator) || accumulator < -(2 ** 31) || accumulator >= 2 ** 31)
    throw new NumericError({ what: 'the fixed-point product takes int32', value: accumulator });
  const left = BigInt(accumulator) << BigInt(Math.max(0, shift));
  if (left !== clamp(left))
    throw new NumericError({ what: 'the factor takes the accumulator out of int32', value: [accumulator, shift] });
  const product = left * BigInt(multiplier);
  // gemmlowp's nudge and division toward zero: halves go up.
  const high = clamp((product + (product >= 0n ? 1n << 30n : 1n - (1n << 30n))) / (1n << 31n));
  // Here halves go away from zero.
  const right = BigInt(Math.max(0, -shift));
  const half = (1n << right) >> 1n;
  const rest = high & ((1n << right) - 1n);
  const threshold = right === 0n ? 0n : half - 1n + (high < 0n ? 1n : 0n);
  return Number((high >> right) + (right > 0n && rest > threshold ? 1n : 0n));
}

function clamp(value: bigint): bigint {
  return value < int32Least ? int32Least : value > int32Most ? int32Most : value;
}

export interface Requantization {
  /** s_w s_x / s_y: one, or one an output [out]. */
  factor: number | ArrayLike<number>;
  zero?: number;
  codes: IntegerCodes;
  /** float: one rounding, half to even. fixed: as integers do it. */
  arithmetic: 'float' | 'fixed';
}

/** @param sums [tokens, out] @returns codes [tokens, out] */
export function requantize(sums: Float64Array, out: number, { factor, zero = 0, codes, arithmetic }: Requantization): Int32Array {
  const [least, most] = codeRange(codes);
  const factors = typeof factor === 'number' ? new Array<number>(out).fill(factor) : Array.from(factor);
  const scale = {
    float: (sum: number, o: number) => halfEven(sum * factors[o]!),
    fixed: (sum: number, o: number) => multiplyByFixedPoint(sum, points[o]!),
  }[arithmetic];
  const points = arithmetic === 'fixed' ? factors.map(fixedPointOf) : [];
  return Int32Array.from(sums, (sum, i) => Math.max(least, Math.min(most, scale(sum, i % out) + zero)));
}
