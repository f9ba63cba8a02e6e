import { rounding } from '../../numeric/rounding.ts';
import type { IntegerGrid } from '../grid/integer.ts';
import { containZero } from './minmax.ts';
import type { Limits, RangeContext } from './types.ts';

/**
 * What the code of 0 (integer, float) or the value of code 0 (minimum) is, from the scale before it is cast:
 * integer  z = qMin - round(min / s), or round(qMin - min / s) where arithmetic adds zeros before rounding; clamped to the grid
 * float    z = qMin - min / s, not rounded to an integer
 * minimum  m = min - s qMin
 */
export function zeroPoint(limits: Limits, scale: number, context: RangeContext): number {
  const { grid, arithmetic, round } = context;
  const { min } = containZero(limits, context);
  if (context.zero === 'minimum') return round(min - round(scale * grid.qMin));
  if (scale === 0) return Math.max(grid.qMin, Math.min(0, grid.qMax));
  const steps = round(min / scale);
  if (context.zero === 'float') return round(grid.qMin - steps);
  const toInteger = rounding[arithmetic.rounding];
  const zero = arithmetic.zero === 'beforeRounding' ? toInteger(round(grid.qMin - steps)) : grid.qMin - toInteger(steps);
  // + 0 turns -0 into 0.
  return Math.max(grid.qMin, Math.min(zero, grid.qMax)) + 0;
}

/** The zero point of a symmetric scheme: 0 on a signed grid, the middle of an unsigned one. */
export function middleZero({ signed, half }: IntegerGrid): number {
  return signed ? 0 : half;
}
