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
};

export const nvfp4: Method = {
  description: '4-bit floats in blocks of 16 under 8-bit floats, the largest value of a block on 6 or on 4: no data',
  source: 'NVIDIA NVFP4; Four Over Six, arXiv 2512.02010',
  container: 'fewbits',
  bits: [4],
  group: 16,
  takes: [],
  scheme: () => ({ kind: 'nvfp4', scale: 'four-over-six' }),
};
