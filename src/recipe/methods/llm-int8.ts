import { integers } from './integers.ts';
import type { Method } from './types.ts';

export const llmInt8: Method = {
  description: 'int8 rows and int8 tokens; columns of inputs with outliers are found while the model runs and stay in 16 bits',
  source: 'Dettmers et al., LLM.int8(), arXiv 2208.07339, section 3.2; bitsandbytes 0.50',
  container: 'fewbits',
  bits: [8],
  group: -1,
  takes: ['threshold'],
  ownRange: true,
  scheme: (options) => integers({ ...options, group: -1, symmetric: true, range: 'absmax-narrow' }),
  activationBits: 8,
  input: ({ threshold }) => ({ threshold }),
};
