import { baseOf } from './base.ts';
import { describeRatios, differences, RUN, searchClip } from './clip-search.ts';
import { demanded } from './inputs.ts';
import { extremes } from './minmax.ts';
import type { Range } from './types.ts';

/**
 * As mse, with each column weighted by the mean square of its input: the error of the layer's output if inputs were uncorrelated
 * (the importance matrix of llama.cpp).
 */
export const imatrix: Range = {
  name: 'imatrix',
  schemes: 'both',
  options: ['steps', 'base'],
  needs: ['meansquare'],
  describe(context) {
    const what = `limits r min, r max with the r of least Σ E[input²] (x - x̂)², ${describeRatios(context.options)}`;
    return `${what}; ${baseOf(context).describe(context)}`;
  },
  limits(values, from, to, context) {
    const importance = demanded(context.inputs?.meansquare, 'imatrix', 'meansquare'); // [cols]
    const cols = importance.length;
    const difference = new Float64Array(RUN);
    return searchClip(extremes(values, from, to), context, (step, least) => {
      let error = 0;
      for (let at = from, col = from % cols; at < to && error < least; at += RUN) {
        const end = Math.min(at + RUN, to);
        differences(values, at, end, step, context, difference);
        for (let i = 0; i < end - at; i++) {
          const d = difference[i]!;
          error += importance[col]! * d * d;
          if (++col === cols) col = 0;
        }
      }
      return error;
    });
  },
  scale: (limits, context) => baseOf(context).scale(limits, context),
};
