import { defaultRounding } from '../schema.ts';
import { integers } from './integers.ts';
import type { Method } from './types.ts';

export const zeroquant: Method = {
  description:
    'weights in groups, inputs token by token in 8 bits; with --text, layer after layer fitted to the outputs of the model',
  source: 'Yao et al., ZeroQuant, arXiv 2206.01861, sections 4.1 to 4.3',
  container: 'fewbits',
  bits: [8, 4, 3, 2, 5, 6, 7],
  group: 64,
  takes: ['group', 'symmetric', 'range'],
  // DeepSpeed's step; a weight of +absmax is clipped by one.
  scheme: (options) => integers({ range: options.symmetric ? 'absmax-full' : 'minmax', ...options }),
  activationBits: 8,
  // The paper distils a layer by gradient steps; for a linear the same aim, least squares to the unquantized outputs, has a solution.
  withText: { rounding: defaultRounding, order: 'sequential' },
};
