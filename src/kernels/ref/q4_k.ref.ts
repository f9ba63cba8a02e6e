/** Q4_K: 144 bytes for 256 weights: f16 d, f16 dmin, scales[12], codes[128] (64 weights: low nibbles, then high nibbles). */
import { blockReference } from './blocks.ref.ts';
import { type Affine32, decodeAffine32, encodeAffine32 } from './k-affine.ref.ts';
import { superBlock } from './k-common.ref.ts';

const type: Affine32 = {
  plain: { max: 15, from: -1, step: 0.1, steps: 20 },
  weighted: { max: 15, from: -0.9, step: 0.05, steps: 36 },
  scaleLimit: 255,
};

function encode(x: Float32Array, out: Uint8Array, importance?: Float32Array): void {
  packQ4_K(encodeAffine32(x, out, importance, type), out);
}

/** The codes behind the levels. */
export function packQ4_K(codes: Uint8Array, out: Uint8Array): void {
  for (let i = 0; i < 128; i++) {
    const at = (i >> 5) * 64 + (i & 31);
    out[16 + i] = codes[at] | (codes[at + 32] << 4);
  }
}

function decode(block: Uint8Array, out: Float32Array): void {
  const codes = new Uint8Array(superBlock);
  for (let i = 0; i < 128; i++) {
    const at = (i >> 5) * 64 + (i & 31);
    codes[at] = block[16 + i] & 15;
    codes[at + 32] = block[16 + i] >> 4;
  }
  decodeAffine32(block, codes, out);
}

export const q4_k = blockReference('q4_k', { encode, decode });
