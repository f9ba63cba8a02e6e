import { integers } from './integers.ts';
import type { Method } from './types.ts';

export const zeroquant: Method = {
  description: 'weights in groups, inputs token by token in 8 bits',
  source: 'Yao et al., ZeroQuant, arXiv 2206.01861, section 4.1',
  container: 'fewbits',
  bits: [8, 4, 3, 2, 5, 6, 7],
  group: 64,
  takes: ['group', 'symmetric', 'range'],
  scheme: integers,
  activationBits: 8,
};
