/** What the ranges that search have in common: they shrink both extremes by one ratio and keep the ratio of least error. */
import { HALF_EVEN } from '../codes.ts';
import type { RangeOptions } from '../scheme.ts';
import { baseOf } from './base.ts';
import type { Limits, RangeContext } from './types.ts';
import { middleZero, zeroPoint } from './zero-point.ts';

const STEPS = 80;

/** Values between two looks at whether a candidate has lost already. */
export const RUN = 16;

/** x̂ = scale (q - shift), q = clamp(round(x / scale + shift)): every kind of zero is a shift of the codes. */
export interface Step {
  scale: number;
  shift: number;
}

/** The error of the values with this step; it may stop where it reaches `least`. */
export type ErrorOf = (step: Step, least: number) => number;

/** The ratios as people read them. */
export function describeRatios({ steps = STEPS, stride = 1 }: RangeOptions): string {
  return `r in {1, ${1 - stride / 100}, ..., ${((101 - steps) / 100).toFixed(2)}}`;
}

/** The limits r min, r max of least error, r = 1 - i / 100; of equal errors the widest limits win. */
export function searchClip(all: Limits, context: RangeContext, errorOf: ErrorOf): Limits {
  const { round, options } = context;
  let best = all;
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < Math.min(options.steps ?? STEPS, 100); i += options.stride ?? 1) {
    const ratio = round(1 - i / 100);
    const limits = { min: round(all.min * ratio), max: round(all.max * ratio) };
    const step = stepOf(limits, context);
    const error = step ? errorOf(step, least) : Number.POSITIVE_INFINITY;
    if (error < least) {
      least = error;
      best = limits;
    }
  }
  return best;
}

/** Scale and zero as decoding will see them; undefined where the scale is 0. */
export function stepOf(limits: Limits, context: RangeContext): Step | undefined {
  const exact = baseOf(context).scale(limits, context);
  const scale = context.cast(exact);
  if (scale === 0) return undefined;
  if (context.symmetric) return { scale, shift: middleZero(context.grid) };
  const zero = zeroPoint(limits, exact, context);
  if (context.zero === 'integer') return { scale, shift: zero };
  const stored = context.cast(zero);
  return { scale, shift: context.zero === 'minimum' ? -stored / scale : stored };
}

/** out[i] = x - x̂ of values[from + i], in f64 with ties to even whatever the arithmetic of the codes is: a tie errs the same either way. */
export function differences(
  values: Float32Array,
  from: number,
  to: number,
  step: Step,
  context: RangeContext,
  out: Float64Array,
) {
  const { scale, shift } = step;
  const { qMin, qMax } = context.grid;
  for (let i = from; i < to; i++) {
    const x = values[i]!;
    const q = Math.max(qMin, Math.min(x / scale + shift + HALF_EVEN - HALF_EVEN, qMax));
    out[i - from] = x - scale * (q - shift);
  }
}
