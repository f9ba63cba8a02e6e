import { baseOf } from './base.ts';
import { differences, RUN, stepOf } from './clip-search.ts';
import { improveZero, shrinkDefaults } from './half-quadratic.ts';
import { extremes } from './minmax.ts';
import type { Limits, Range, RangeContext } from './types.ts';

const ITERATIONS = 20;

/**
 * Moves the limits, without changing their distance, by the iterations of HQQ, and keeps the place of least Σ |x - x̂|^p. Each group
 * for itself, so that rows can be cut anywhere: `hqqMatrix` (hqq.ts) stops for all groups at once, as hqq does.
 */
export const hqq: Range = {
  name: 'hqq',
  schemes: 'asymmetric',
  options: ['steps', 'power', 'base'],
  describe(context) {
    const { steps = ITERATIONS, power = shrinkDefaults.norm } = context.options;
    return `limits moved by up to ${steps} half-quadratic steps to the least Σ|x - x̂|^${power}; ${baseOf(context).describe(context)}`;
  },
  limits(values, from, to, context) {
    const { steps = ITERATIONS, power: norm = shrinkDefaults.norm } = context.options;
    const reach = extremes(values, from, to);
    const most = 2 * context.grid.half - 1;
    const scale = Math.fround((reach.max - reach.min) / most);
    if (!(scale > 0) || !Number.isFinite(Math.fround(1 / scale))) return reach;
    const inverse = Math.fround(1 / scale);
    const group = { from, count: to - from, stride: 1 };
    let best = reach;
    let least = normOf(values, from, to, reach, norm, context);
    let zero = Math.fround(-reach.min * inverse);
    for (let i = 0; i < steps; i++) {
      const next = improveZero(values, group, { inverse, zero }, most, { ...shrinkDefaults, norm });
      if (next.zero === zero) break;
      zero = next.zero;
      const min = context.round(-zero * scale);
      const limits = { min, max: context.round(min + (reach.max - reach.min)) };
      const error = normOf(values, from, to, limits, norm, context);
      if (error < least) {
        least = error;
        best = limits;
      }
    }
    return best;
  },
  scale: (limits, context) => baseOf(context).scale(limits, context),
};

/** Σ |x - x̂|^p with the levels that decoding will see. */
function normOf(values: Float32Array, from: number, to: number, limits: Limits, p: number, context: RangeContext): number {
  const step = stepOf(limits, context);
  if (!step) return Number.POSITIVE_INFINITY;
  const difference = new Float64Array(RUN);
  let sum = 0;
  for (let at = from; at < to; at += RUN) {
    const end = Math.min(at + RUN, to);
    differences(values, at, end, step, context, difference);
    for (let i = 0; i < end - at; i++) sum += Math.abs(difference[i]!) ** p;
  }
  return sum;
}
