import type { Method } from './types.ts';

export const sparse3: Method = {
  description: '3 bits in groups, and 3 % of the weights at high precision',
  source: 'an example',
  container: 'fewbits',
  bits: [3, 4, 2],
  group: 64,
  takes: ['group'],
  scheme: ({ bits, group }) => ({
    kind: 'integer',
    ...{ bits, symmetric: false, granularity: { group }, range: 'mse', scaleType: 'f16' },
    split: { sparse: { share: 0.03, by: 'sensitivity' } },
  }),
};
