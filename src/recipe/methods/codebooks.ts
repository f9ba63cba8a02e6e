/** Methods that learn their values. */
import type { Method } from './types.ts';

export const codebook: Method = {
  description: 'a list of values for each row, learned from its weights by k-means: no data',
  source: 'Han et al., Deep Compression, arXiv 1510.00149, section 3; Lloyd 1982',
  container: 'fewbits',
  bits: [4, 3, 2, 1, 5, 6, 7, 8],
  group: -1,
  takes: [],
  scheme: ({ bits }) => ({ kind: 'codebook', bits, dim: 1, per: 'row', weighted: false, bookType: 'f16' }),
};

/**
 * The paper keeps 0.05 % of the weights by sensitivity and 0.40 % by magnitude, of the whole matrix, and sensitivity is the squared
 * gradient of the loss. Here the 0.45 % are one set, spread evenly over the rows: the weights whose rounding costs the output most,
 * and E[x²] of a column's input stands for the squared gradients of its weights, in the clustering too.
 */
export const squeezellm: Method = {
  description:
    'learned values that count columns by their inputs, and 0.45 % of the weights, by what their rounding costs, at high precision',
  source: 'Kim et al., SqueezeLLM, arXiv 2306.07629, sections 4.1 and 4.2; mean squares of inputs in place of squared gradients',
  container: 'fewbits',
  bits: [4, 3, 2, 5, 6, 7, 8],
  group: -1,
  takes: [],
  scheme: ({ bits }) => ({
    kind: 'codebook',
    ...{ bits, dim: 1, per: 'row', weighted: true, bookType: 'f16' },
    split: { sparse: { share: 0.0045, by: 'sensitivity' } },
  }),
};
