import { asymmetricBits, integers } from './integers.ts';
import type { Method } from './types.ts';

export const hqq: Method = {
  description: 'zero points moved to where few large errors remain, by half-quadratic steps: no data',
  source: 'Badri and Shaji, Half-Quadratic Quantization of Large Machine Learning Models, Mobius Labs 2023; package hqq 0.2.8',
  container: 'fewbits',
  bits: asymmetricBits,
  group: 64,
  takes: ['group'],
  symmetric: false,
  ownRange: true,
  scheme: (options) => ({ ...integers({ ...options, symmetric: false, range: 'hqq' }), zero: 'float' }),
};
