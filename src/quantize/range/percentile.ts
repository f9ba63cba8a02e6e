import { RecipeError } from '../../errors.ts';
import { baseOf } from './base.ts';
import type { Range } from './types.ts';

/** Linear interpolation between the two neighbours of rank p (n - 1), as NumPy's default. */
function quantile(sorted: Float32Array, p: number): number {
  const rank = p * (sorted.length - 1);
  const below = Math.floor(rank);
  const low = sorted[below]!;
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!;
  return low + (high - low) * (rank - below);
}

/** Without the digits that binary fractions add. */
function short(x: number): number {
  return Number(x.toPrecision(10));
}

/** Clips the tails: of |x| where the scheme is symmetric, else half of the share at either end. */
export const percentile: Range = {
  name: 'percentile',
  schemes: 'both',
  options: ['percentile', 'base'],
  describe(context) {
    const share = context.options.percentile ?? 99.9;
    const what = context.symmetric
      ? `absmax = the ${share} % quantile of |x|`
      : `min, max = the ${short((100 - share) / 2)} % and ${short((100 + share) / 2)} % quantiles`;
    return `${what}; ${baseOf(context).describe(context)}`;
  },
  limits(values, from, to, { symmetric, options, round }) {
    const share = (options.percentile ?? 99.9) / 100;
    if (!(share > 0 && share <= 1)) {
      throw new RecipeError({ what: 'not a percentile', value: options.percentile, limit: 'above 0, at most 100' });
    }
    const sorted = values.slice(from, to);
    if (symmetric) {
      for (let i = 0; i < sorted.length; i++) sorted[i] = Math.abs(sorted[i]!);
      sorted.sort();
      const reach = round(quantile(sorted, share));
      return { min: -reach, max: reach };
    }
    sorted.sort();
    return { min: round(quantile(sorted, (1 - share) / 2)), max: round(quantile(sorted, (1 + share) / 2)) };
  },
  scale: (limits, context) => baseOf(context).scale(limits, context),
};
