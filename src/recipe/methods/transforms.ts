/** Methods that rewrite the model first and then round to nearest. */
import { asymmetricBits, integerBits, integers } from './integers.ts';
import type { Method } from './types.ts';

export const awq: Method = {
  description: 'columns scaled so that rounding costs the outputs least, found by trying, then clips of weights',
  source: 'Lin et al., AWQ, arXiv 2306.00978; mit-han-lab/llm-awq',
  container: 'fewbits',
  bits: asymmetricBits,
  group: 128,
  takes: ['group', 'symmetric', 'range', 'type'],
  symmetric: false,
  scheme: integers,
  transforms: () => [{ kind: 'awq' }],
};

export const smoothquant: Method = {
  description: 'outliers of the inputs moved into the weights, then 8 bits for both',
  source: 'Xiao et al., SmoothQuant, arXiv 2211.10438; mit-han-lab/smoothquant',
  container: 'compressed-tensors',
  bits: [8, 4, 6, 5, 7],
  group: -1,
  takes: ['group', 'symmetric', 'range', 'alpha'],
  scheme: integers,
  transforms: ({ alpha }) => [{ kind: 'smoothquant', alpha }],
  activationBits: 8,
};

export const quarot: Method = {
  description: 'hidden states and values of heads rotated, so that no channel has outliers',
  source: 'Ashkboos et al., QuaRot, arXiv 2404.00456; spcl/QuaRot',
  container: 'fewbits',
  bits: integerBits,
  group: 128,
  takes: ['group', 'symmetric', 'range', 'type'],
  scheme: integers,
  // Inputs that are quantized need what only a running model can turn: those of o and down, and the keys of a quantized cache.
  transforms: ({ activationBits, kv }) => [
    { kind: 'quarot', ...(activationBits !== undefined && { values: 'full', down: true }), ...(kv && { queryKey: true }) },
  ],
};
