import { absmax } from './absmax-narrow.ts';
import { extremes } from './minmax.ts';
import type { Range } from './types.ts';

/** All 2^b codes: a positive extreme is clipped by one step. */
export const absmaxFull: Range = {
  name: 'absmax-full',
  schemes: 'symmetric',
  options: [],
  describe: () => 's = absmax / 2^(b-1)',
  limits: extremes,
  scale: (limits, { grid, round }) => round(absmax(limits) / grid.half),
};
