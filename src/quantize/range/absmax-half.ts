import { absmax } from './absmax-narrow.ts';
import { extremes } from './minmax.ts';
import type { Range } from './types.ts';

/** compressed-tensors: half of the 2^b - 1 steps on either side, so both extremes are at most half a step off. */
export const absmaxHalf: Range = {
  name: 'absmax-half',
  schemes: 'symmetric',
  options: [],
  describe: () => 's = absmax / (2^(b-1) - 1/2)',
  limits: extremes,
  scale: (limits, { grid, round }) => round(absmax(limits) / (grid.half - 0.5)),
};
