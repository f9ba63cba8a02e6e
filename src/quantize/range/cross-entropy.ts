import { RecipeError } from '../../errors.ts';
import { baseOf } from './base.ts';
import { mse } from './mse.ts';
import type { Range } from './types.ts';

/**
 * The limits of `mse` times a factor of the whole tensor, with which the model's own loss on text is least: a run finds it, one
 * tensor after another (run/ranges/). After the cross-entropy ranges of Nagel et al., A White Paper on Neural Network Quantization
 * (arXiv 2106.08295, section 3.1), and coordinate descent on the model's loss as in LAPQ (arXiv 1911.07190, section 4).
 */
export const crossEntropy: Range = {
  name: 'cross-entropy',
  schemes: 'both',
  options: mse.options,
  describe: (context) => `${mse.describe(context)}; both limits times the factor of the tensor with the least loss of the model`,
  limits(values, from, to, context) {
    const { factor } = context.options;
    if (factor === undefined) {
      throw new RecipeError({
        what: "this range is chosen by the model's loss on a text, and no factor was chosen",
        value: 'cross-entropy',
        next: 'quantize a model that can be run, or choose the range mse',
      });
    }
    const { min, max } = mse.limits(values, from, to, context);
    return { min: context.round(min * factor), max: context.round(max * factor) };
  },
  scale: (limits, context) => baseOf(context).scale(limits, context),
};
