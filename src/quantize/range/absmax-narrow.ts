import { RecipeError } from '../../errors.ts';
import { extremes } from './minmax.ts';
import type { Limits, Range } from './types.ts';

/** The largest magnitude inside the limits. */
export function absmax({ min, max }: Limits): number {
  return Math.max(Math.abs(min), Math.abs(max));
}

/** The symmetric grid that leaves out -2^(b-1), so that both signs reach equally far: bitsandbytes' int8, ONNX's weights. */
export const absmaxNarrow: Range = {
  name: 'absmax-narrow',
  schemes: 'symmetric',
  options: [],
  describe: () => 's = absmax / (2^(b-1) - 1), codes ±(2^(b-1) - 1)',
  limits: extremes,
  scale(limits, { grid, round }) {
    if (grid.bits === 1) {
      throw new RecipeError({
        what: 'absmax-narrow has no step at 1 bit',
        next: 'choose absmax-half, absmax-full or an asymmetric scheme',
      });
    }
    return round(absmax(limits) / (grid.half - 1));
  },
};
