/** Q2_0: 64 codes of 2 bits under an f16 scale, the largest magnitude; x = scale * (code - 1). 18 bytes. Code 3 is never written. */
import { blockReference, readHalf, writeHalf } from './blocks.ref.ts';
import { type Ternary, toTernary } from './ternary.ref.ts';

export function packQ2_0({ scale, trits }: Ternary, out: Uint8Array): void {
  writeHalf(out, 0, scale);
  trits.forEach((trit, j) => {
    out[2 + (j >> 2)] |= trit << (2 * (j & 3));
  });
}

export const q2_0 = blockReference('q2_0', {
  encode(x, out) {
    packQ2_0(toTernary(x, 0), out);
  },
  decode(bytes, out) {
    const scale = readHalf(bytes, 0);
    for (let j = 0; j < 64; j++) out[j] = scale * (((bytes[2 + (j >> 2)] >> (2 * (j & 3))) & 3) - 1);
  },
});
