/** Are the scales of encoded blocks finite? llama.cpp refuses files in which one is not, and so do we before writing one. */
import { type StorageType, storage } from '../tensor/storage.ts';
import type { Kernels } from './kernels.ts';

/** Byte offsets of the f16 scales and minima in a block; types that are absent hold none in one piece. */
export const halfOffsets: Partial<Record<StorageType, readonly number[]>> = {
  f16: [0],
  q4_0: [0],
  q4_1: [0, 2],
  q5_0: [0],
  q5_1: [0, 2],
  q8_0: [0],
  q8_1: [0, 2],
  q2_k: [80, 82],
  q3_k: [108],
  q4_k: [0, 2],
  q5_k: [0, 2],
  q6_k: [208],
  iq1_s: [0],
  iq2_xxs: [0],
  iq2_xs: [0],
  iq2_s: [0],
  iq3_xxs: [0],
  iq3_s: [0],
  iq4_nl: [0],
  iq4_xs: [0],
  tq1_0: [52],
  tq2_0: [64],
  q1_0: [0],
  q2_0: [0],
};

/** The exponent of MXFP4 that OCP reads as NaN. ggml's encoder writes it where the largest value of a block lies below 2^-125. */
const NO_EXPONENT = 255;

/** Index of the first block with a NaN or Inf among its f16 scales, or an E8M0 of 255, or -1; `length` bytes of blocks lie at `at` in the arena. */
export function firstBadScale(kernels: Kernels, type: StorageType, at: number, length: number): number {
  const { bytes } = storage[type];
  if (type === 'mxfp4') {
    const blocks = kernels.bytes(at, length);
    for (let block = 0; block * bytes < length; block++) if (blocks[block * bytes] === NO_EXPONENT) return block;
    return -1;
  }
  const bad = (halfOffsets[type] ?? [])
    .map((offset) => kernels.call('scales_finite', at, Math.floor(length / bytes), bytes, offset))
    .filter((block) => block >= 0);
  return bad.length ? Math.min(...bad) : -1;
}
