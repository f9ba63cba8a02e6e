import { integerBits, integers } from './integers.ts';
import type { Method } from './types.ts';

export const rtn: Method = {
  description: 'round to nearest: no data, one pass over the weights',
  source: 'Nagel et al., A White Paper on Neural Network Quantization, arXiv 2106.08295, section 2',
  container: 'fewbits',
  bits: integerBits,
  group: 128,
  takes: ['group', 'symmetric', 'range'],
  scheme: integers,
};
