import type { Method } from './types.ts';

export const kv: Method = {
  description: 'keys by channel and values by token in 4 bits while the model generates; weights stay as they are',
  source: 'Liu et al., KIVI, arXiv 2402.02750, section 3.2',
  container: 'fewbits',
  bits: [16],
  group: -1,
  takes: [],
  kvBits: '4',
};
