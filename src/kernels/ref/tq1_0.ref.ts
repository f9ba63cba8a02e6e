/** TQ1_0: 256 values of -1, 0, 1, five to a byte, then an f16 scale; x = scale * (trit - 1). 54 bytes. */
import { blockReference, readHalf, writeHalf } from './blocks.ref.ts';
import { type Ternary, toTernary } from './ternary.ref.ts';

/** `bytes` bytes of `trits` values each: the n-th value of byte b is number from + b + n * bytes. */
const parts = [
  { from: 0, at: 0, bytes: 32, trits: 5 },
  { from: 160, at: 32, bytes: 16, trits: 5 },
  { from: 240, at: 48, bytes: 4, trits: 4 },
] as const;

export function packTq1_0({ scale, trits }: Ternary, out: Uint8Array): void {
  for (const { from, at, bytes, trits: count } of parts) {
    for (let b = 0; b < bytes; b++) {
      let number = 0;
      for (let n = 0; n < 5; n++) number = 3 * number + (n < count ? trits[from + b + n * bytes] : 0);
      // number / 243 as a fraction of 256, rounded up: multiplying by 3 then brings the trits out at the top, one by one.
      out[at + b] = Math.ceil((number * 256) / 243);
    }
  }
  writeHalf(out, 52, scale);
}

export const tq1_0 = blockReference('tq1_0', {
  encode(x, out) {
    packTq1_0(toTernary(x), out);
  },
  decode(bytes, out) {
    const scale = readHalf(bytes, 52);
    for (const { from, at, bytes: width, trits } of parts) {
      for (let b = 0; b < width; b++) {
        for (let n = 0; n < trits; n++) {
          const rest = (bytes[at + b] * 3 ** n) & 255;
          out[from + b + n * width] = scale * (((rest * 3) >> 8) - 1);
        }
      }
    }
  },
});
