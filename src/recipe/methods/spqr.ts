import { defaultRounding } from '../schema.ts';
import { integers } from './integers.ts';
import type { Method } from './types.ts';

/** Of each row: the paper keeps 0.5 to 1 %. */
const SHARE = 0.01;
/** Of the integers that scales are under the float of their row. */
const SCALE_BITS = 4;

export const spqr: Method = {
  description: 'small groups under scales of 4 bits, and 1 % of the weights, those whose rounding costs most, at high precision',
  source: 'Dettmers et al., SpQR, arXiv 2306.03078, sections 4.1 and 4.2',
  container: 'fewbits',
  bits: [3, 4, 2, 5, 6],
  group: 16,
  takes: ['group', 'range'],
  symmetric: false,
  scheme: (options) => ({
    ...integers({ ...options, range: options.range ?? 'imatrix', symmetric: false }),
    nested: { bits: SCALE_BITS, per: 'row' },
    split: { sparse: { share: SHARE, by: 'sensitivity' } },
  }),
  rounding: defaultRounding,
};
