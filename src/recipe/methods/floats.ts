/** Methods of small floats in blocks. */
import type { MxScheme } from '../../quantize/scheme.ts';
import type { Method } from './types.ts';

const elements: Readonly<Record<number, MxScheme['element']>> = { 4: 'e2m1', 6: 'e2m3', 8: 'e4m3' };

export const mx: Method = {
  description: 'small floats in blocks of 32 under a power of two (MXFP4, MXFP6, MXFP8), the better of two powers: no data',
  source: 'OCP Microscaling Formats 1.0; the choice of the power after auto-round, docs/mxnv_acc.md',
  container: 'fewbits',
  bits: [4, 6, 8],
  group: 32,
  takes: [],
  scheme: ({ bits }) => ({ kind: 'mx', element: elements[bits]!, exponent: 'best' }),
  ggufType: ({ bits }) =>
    bits === 4
      ? { type: 'mxfp4', encoder: 'search' }
      : { what: 'of the MX formats GGUF has MXFP4 alone', value: `${bits} bits`, next: 'use --bits 4, or --to fewbits' },
};

export const nvfp4: Method = {
  description: '4-bit floats in blocks of 16 under 8-bit floats, the largest value of a block on 6 or on 4: no data',
  source: 'NVIDIA NVFP4; Four Over Six, arXiv 2512.02010',
  container: 'fewbits',
  bits: [4],
  group: 16,
  takes: [],
  scheme: () => ({ kind: 'nvfp4', scale: 'four-over-six' }),
  ggufType: () => ({
    what: 'the type NVFP4 of GGUF has no scale for the whole tensor, and these blocks lie under one',
    next: 'use --type nvfp4 --encoder search, or --to fewbits',
  }),
};
