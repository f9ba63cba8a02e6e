/** Q5_K: 176 bytes for 256 weights: as Q4_K with high[32] before the codes; bit j of high[l] belongs to weight 32 j + l. */
import { blockReference } from './blocks.ref.ts';
import { type Affine32, decodeAffine32, encodeAffine32 } from './k-affine.ref.ts';
import { superBlock } from './k-common.ref.ts';

const type: Affine32 = {
  plain: { max: 31, from: -0.5, step: 0.1, steps: 15 },
  weighted: { max: 31, from: -0.9, step: 0.05, steps: 36 },
  scaleLimit: 63,
};

function encode(x: Float32Array, out: Uint8Array, importance?: Float32Array): void {
  packQ5_K(encodeAffine32(x, out, importance, type), out);
}

/** The codes behind the levels; out: zeroed. */
export function packQ5_K(codes: Uint8Array, out: Uint8Array): void {
  for (let i = 0; i < superBlock; i++) out[16 + (i & 31)] |= (codes[i] >> 4) << (i >> 5);
  for (let i = 0; i < 128; i++) {
    const at = (i >> 5) * 64 + (i & 31);
    out[48 + i] = (codes[at] & 15) | ((codes[at + 32] & 15) << 4);
  }
}

function decode(block: Uint8Array, out: Float32Array): void {
  const codes = new Uint8Array(superBlock);
  for (let i = 0; i < 128; i++) {
    const at = (i >> 5) * 64 + (i & 31);
    codes[at] = block[48 + i] & 15;
    codes[at + 32] = block[48 + i] >> 4;
  }
  for (let i = 0; i < superBlock; i++) codes[i] |= ((block[16 + (i & 31)] >> (i >> 5)) & 1) << 4;
  decodeAffine32(block, codes, out);
}

export const q5_k = blockReference('q5_k', { encode, decode });
