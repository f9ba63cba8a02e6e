/** MXFP4: 32 values, a power of two as an E8M0 byte, E2M1 codes; x = 2^(byte - 127) * value. 17 bytes. OCP MX 1.0. */
import { blockReference, packNibbles, unpackNibbles } from './blocks.ref.ts';
import { doubledE2m1, e2m1Codes, halfOfE8m0 } from './e2m1.ref.ts';

export function packMxfp4(x: Float32Array, byte: number, out: Uint8Array): void {
  out[0] = byte;
  packNibbles(e2m1Codes(x, halfOfE8m0(byte)), out.subarray(1));
}

export const mxfp4 = blockReference('mxfp4', {
  encode(x, out) {
    // Below 2^-125 the byte wraps around, as a C cast does on x86-64: all codes are 0 then.
    packMxfp4(x, exponentOf(x) & 255, out);
  },
  decode(bytes, out) {
    const half = halfOfE8m0(bytes[0]);
    unpackNibbles(bytes.subarray(1)).forEach((code, j) => {
      out[j] = half * doubledE2m1[code];
    });
  },
});

/**
 * The byte of the exponent that puts the largest of x between 4 and 8, of which 6 to 8 are clipped; negative below 2^-125. The
 * logarithm is an f32, so the last values below a power of two count as the power.
 */
export function exponentOf(x: Float32Array): number {
  const largest = x.reduce((max, v) => Math.max(max, Math.abs(v)), 0);
  return largest > 0 ? Math.floor(Math.fround(Math.log2(largest))) - 2 + 127 : 0;
}
