import { asymmetricBits, integers } from './integers.ts';
import type { Method } from './types.ts';

export const sinq: Method = {
  description: 'columns and rows balanced by factors before rounding, so that outliers of either do not widen scales: no data',
  source: 'Müller et al., SINQ: Sinkhorn-Normalized Quantization, arXiv 2509.22944',
  container: 'fewbits',
  bits: asymmetricBits,
  group: 64,
  takes: ['group', 'symmetric', 'range'],
  symmetric: false,
  scheme: (options) => ({ ...integers(options), balance: 'sinkhorn' }),
};
