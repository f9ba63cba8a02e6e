import { NumericError, RecipeError } from '../../errors.ts';
import type { MatrixScheme } from '../scheme.ts';
import type { StatisticKind } from '../statistics.ts';
import { baseRanges, checkSymmetry } from './base.ts';
import { crossEntropy } from './cross-entropy.ts';
import { entropy } from './entropy.ts';
import { hqq } from './hqq.ts';
import { imatrix } from './imatrix.ts';
import { mse } from './mse.ts';
import { outputMse } from './output-mse.ts';
import { percentile } from './percentile.ts';
import { sqnr } from './sqnr.ts';
import type { Limits, Range, RangeContext } from './types.ts';
import { middleZero, zeroPoint } from './zero-point.ts';

export const ranges: Readonly<Record<MatrixScheme['range'], Range>> = {
  ...baseRanges,
  percentile,
  mse,
  imatrix,
  'output-mse': outputMse,
  sqnr,
  entropy,
  hqq,
  'cross-entropy': crossEntropy,
};

/** The statistics of a linear's input that its range cannot do without. */
export function rangeNeeds(name: MatrixScheme['range']): readonly StatisticKind[] {
  return ranges[name].needs ?? [];
}

/** The range of that name; RecipeError when there is none, or when it does not fit the scheme's symmetry. */
export function rangeOf(name: string, symmetric: boolean): Range {
  if (!Object.hasOwn(ranges, name)) {
    const next = `choose one of ${Object.keys(ranges).join(', ')}`;
    throw new RecipeError({ what: 'there is no such range', value: name, next });
  }
  const range = ranges[name as MatrixScheme['range']];
  checkSymmetry(range, symmetric, Object.values(ranges));
  return range;
}

/** Scale (in the compute dtype, not cast to its stored dtype) and zero of one sharing group with these limits. */
export function scaleOf(range: Range, limits: Limits, context: RangeContext): { scale: number; zero: number } {
  const scale = range.scale(limits, context);
  // Also where the stored scale or the reciprocal would be useless: the whole group is then below any step.
  if (scale === 0 || context.cast(scale) === 0 || vanishes(scale, context)) return emptyGroup(range, limits, scale, context);
  return { scale, zero: context.symmetric ? middleZero(context.grid) : zeroPoint(limits, scale, context) };
}

/** f32 and bf16 subnormals have no reciprocal; in f16 that happens to ordinary weights, which is an error of the caller's choice. */
function vanishes(scale: number, { arithmetic, round }: RangeContext): boolean {
  if (arithmetic.divide === 'divide' || Number.isFinite(round(1 / scale))) return false;
  if (arithmetic.compute !== 'f16') return true;
  throw new NumericError({
    what: 'the reciprocal of a scale overflows f16',
    value: scale,
    next: 'divide instead, or compute in f32',
  });
}

/** A group whose scale is 0 holds zeros only, equal values (float zero, minimum), or values too small for the dtypes. */
function emptyGroup(range: Range, limits: Limits, tiny: number, context: RangeContext): { scale: number; zero: number } {
  const { grid, symmetric } = context;
  if (context.emptyGroup === 'unit') {
    const unit = { min: -1, max: 1 };
    const scale = range.scale(unit, context);
    return { scale, zero: symmetric ? middleZero(grid) : zeroPoint(unit, scale, context) };
  }
  // A zero keeps the sign that the formula gave it: ONNX Runtime writes -0.
  const scale = { one: 1, zero: tiny * 0, epsilon: context.epsilon }[context.emptyGroup];
  if (symmetric) return { scale, zero: middleZero(grid) };
  // The formula of an integer zero is 0/0 here: the grid's value nearest to 0 stands for 0.
  return { scale, zero: zeroPoint(limits, context.zero === 'integer' ? 0 : scale, context) };
}
