import { baseOf } from './base.ts';
import { describeRatios } from './clip-search.ts';
import { mse } from './mse.ts';
import type { Range } from './types.ts';

/** The largest 10 log10(Σ x² / Σ (x - x̂)²). Σ x² is given, so that these are the limits of mse with the power 2. */
export const sqnr: Range = {
  name: 'sqnr',
  schemes: 'both',
  options: ['steps', 'base'],
  describe(context) {
    const what = `limits r min, r max with the r of the largest Σx² / Σ(x - x̂)², ${describeRatios(context.options)}`;
    return `${what}; ${baseOf(context).describe(context)}`;
  },
  limits: (values, from, to, context) => mse.limits(values, from, to, { ...context, options: { ...context.options, power: 2 } }),
  scale: (limits, context) => baseOf(context).scale(limits, context),
};
