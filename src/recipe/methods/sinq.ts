import { asymmetricBits, integers } from './integers.ts';
import type { Method } from './types.ts';

export const sinq: Method = {
  description:
    'columns and rows balanced by factors before rounding, folded into what is in front of a linear where a container has no place for them: no data',
  source: 'Müller et al., SINQ: Sinkhorn-Normalized Quantization, arXiv 2509.22944',
  container: 'fewbits',
  bits: asymmetricBits,
  group: 64,
  takes: ['group', 'symmetric', 'range', 'type'],
  symmetric: false,
  scheme: (options) => ({ ...integers(options), ...(!options.folded && { balance: 'sinkhorn' }) }),
  transforms: ({ folded }) => (folded ? [{ kind: 'sinq' }] : undefined),
};
