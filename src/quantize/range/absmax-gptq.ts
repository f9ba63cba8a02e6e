import { absmax } from './absmax-narrow.ts';
import { extremes } from './minmax.ts';
import type { Range } from './types.ts';

/**
 * GPTQ's symmetric rule: the steps of absmax-half, except that a group without negative values keeps its minimum 0, which
 * halves the step and clips its upper half, because the zero point stays in the middle.
 */
export const absmaxGptq: Range = {
  name: 'absmax-gptq',
  schemes: 'symmetric',
  options: [],
  describe: () => 's = 2 absmax / (2^b - 1), or max / (2^b - 1) when no value is negative',
  limits: extremes,
  scale(limits, { grid, round }) {
    const reach = limits.min < 0 ? round(2 * absmax(limits)) : limits.max;
    return round(reach / (2 * grid.half - 1));
  },
};
