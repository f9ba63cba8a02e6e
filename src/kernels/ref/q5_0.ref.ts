/** Q5_0: 32 values, f16 scale, the fifth bits of all codes, nibbles; x = scale * (code - 16). 22 bytes. */
import { blockReference, packFifthBits, packNibbles, readHalf, unpackFiveBits, weighRow, writeHalf } from './blocks.ref.ts';
import { type Found, fromExtreme, searchScale } from './search.ref.ts';

export function packQ5_0({ scale, codes }: Omit<Found, 'min'>, out: Uint8Array): void {
  writeHalf(out, 0, scale);
  packFifthBits(codes, out.subarray(2));
  packNibbles(codes, out.subarray(6));
}

export const q5_0 = blockReference('q5_0', {
  weigh: weighRow,
  encode(x, out, weights) {
    const { scale, codes } = weights ? searchScale(x, 16, weights) : fromExtreme(x, 16);
    packQ5_0({ scale, codes }, out);
  },
  decode(bytes, out) {
    const scale = readHalf(bytes, 0);
    unpackFiveBits(bytes.subarray(2, 6), bytes.subarray(6)).forEach((code, j) => {
      out[j] = scale * (code - 16);
    });
  },
});
