import { HALF_EVEN } from '../codes.ts';
import { baseOf } from './base.ts';
import { extremes } from './minmax.ts';
import type { Limits, Range, RangeContext } from './types.ts';
import { middleZero, zeroPoint } from './zero-point.ts';

const STEPS = 80;

/**
 * Σ |x - x̂|^power of values[from, to) for these limits, in f64 with ties to even whatever the arithmetic of the codes is: how
 * a tie falls does not change the error. It stops where the sum reaches `least`. Every kind of zero is a shift of the codes here: x̂ = s (q - shift).
 */
function quantizationError(
  values: Float32Array,
  from: number,
  to: number,
  limits: Limits,
  least: number,
  context: RangeContext,
): number {
  const { grid, options } = context;
  const power = options.power ?? 2;
  const scale = baseOf(context).scale(limits, context);
  if (scale === 0) return Number.POSITIVE_INFINITY;
  const zero = context.symmetric ? middleZero(grid) : zeroPoint(limits, scale, context);
  const shift = !context.symmetric && context.zero === 'minimum' ? -zero / scale : zero;
  const { qMin, qMax } = grid;
  let error = 0;
  for (let i = from; i < to; i++) {
    const x = values[i]!;
    const q = Math.max(qMin, Math.min(x / scale + shift + HALF_EVEN - HALF_EVEN, qMax));
    const difference = Math.abs(x - scale * (q - shift));
    error += power === 2 ? difference * difference : difference ** power;
    if (error >= least) break;
  }
  return error;
}

/** Shrinks both limits by the ratio that gives the smallest error; of equal errors the widest limits win. */
export const mse: Range = {
  name: 'mse',
  schemes: 'both',
  describe(context) {
    const { steps = STEPS, power = 2 } = context.options;
    const grid = `r in {1, 0.99, ..., ${((101 - steps) / 100).toFixed(2)}}`;
    return `limits r min, r max with the r of least Σ|x - x̂|^${power}, ${grid}; ${baseOf(context).describe(context)}`;
  },
  limits(values, from, to, context) {
    const { round, options } = context;
    const all = extremes(values, from, to);
    let best = all;
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < Math.min(options.steps ?? STEPS, 100); i++) {
      const ratio = round(1 - i / 100);
      const limits = { min: round(all.min * ratio), max: round(all.max * ratio) };
      const error = quantizationError(values, from, to, limits, least, context);
      if (error < least) {
        least = error;
        best = limits;
      }
    }
    return best;
  },
  scale: (limits, context) => baseOf(context).scale(limits, context),
};
