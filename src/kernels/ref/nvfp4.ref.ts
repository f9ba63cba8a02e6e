/** NVFP4: 64 values in four groups of 16, an unsigned E4M3 scale each, E2M1 codes; x = scale * value. 36 bytes. */
import { blockReference } from './blocks.ref.ts';
import { doubledE2m1, e2m1Codes, halfOfUe4m3, ue4m3Of } from './e2m1.ref.ts';

const f = Math.fround;

/** Group g of a block: the byte of its scale, and codes [16]. */
export function packGroup(g: number, byte: number, codes: Uint8Array, out: Uint8Array): void {
  out[g] = byte;
  for (let j = 0; j < 8; j++) out[4 + 8 * g + j] = codes[j] | (codes[j + 8] << 4);
}

/** The byte of the scale that puts the largest of x [16] on 6. */
export function nvfp4Scale(x: Float32Array): number {
  return ue4m3Of(f(x.reduce((max, v) => Math.max(max, Math.abs(v)), 0) / 6));
}

export const nvfp4 = blockReference('nvfp4', {
  encode(x, out) {
    for (let g = 0; g < 4; g++) {
      const values = x.subarray(16 * g, 16 * g + 16);
      const byte = nvfp4Scale(values);
      packGroup(g, byte, e2m1Codes(values, halfOfUe4m3(byte)), out);
    }
  },
  decode(bytes, out) {
    for (let j = 0; j < 64; j++) {
      const g = j >> 4;
      const code = (bytes[4 + 8 * g + (j & 7)] >> (j & 8 ? 4 : 0)) & 15;
      out[j] = halfOfUe4m3(bytes[g]) * doubledE2m1[code];
    }
  },
});
