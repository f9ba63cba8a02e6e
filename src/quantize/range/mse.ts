import { baseOf } from './base.ts';
import { describeRatios, differences, RUN, searchClip } from './clip-search.ts';
import { extremes } from './minmax.ts';
import type { Range } from './types.ts';

/** Shrinks both limits by the ratio of least Σ |x - x̂|^power; with power 2 that is also the largest signal-to-noise ratio. */
export const mse: Range = {
  name: 'mse',
  schemes: 'both',
  options: ['steps', 'power', 'base'],
  describe(context) {
    const power = context.options.power ?? 2;
    const what = `limits r min, r max with the r of least Σ|x - x̂|^${power}, ${describeRatios(context.options)}`;
    return `${what}; ${baseOf(context).describe(context)}`;
  },
  limits(values, from, to, context) {
    const power = context.options.power ?? 2;
    const difference = new Float64Array(RUN);
    return searchClip(extremes(values, from, to), context, (step, least) => {
      let error = 0;
      for (let at = from; at < to && error < least; at += RUN) {
        const end = Math.min(at + RUN, to);
        differences(values, at, end, step, context, difference);
        for (let i = 0; i < end - at; i++) {
          const d = difference[i]!;
          error += power === 2 ? d * d : Math.abs(d) ** power;
        }
      }
      return error;
    });
  },
  scale: (limits, context) => baseOf(context).scale(limits, context),
};
