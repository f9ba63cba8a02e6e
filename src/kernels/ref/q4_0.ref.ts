/** Q4_0: 32 values, f16 scale, 4-bit codes; x = scale * (code - 8). 18 bytes. */
import { blockReference, packNibbles, readHalf, unpackNibbles, weighRow, writeHalf } from './blocks.ref.ts';
import { type Found, fromExtreme, searchScale } from './search.ref.ts';

export function packQ4_0({ scale, codes }: Omit<Found, 'min'>, out: Uint8Array): void {
  writeHalf(out, 0, scale);
  packNibbles(codes, out.subarray(2));
}

export const q4_0 = blockReference('q4_0', {
  weigh: weighRow,
  encode(x, out, weights) {
    const { scale, codes } = weights ? searchScale(x, 8, weights) : fromExtreme(x, 8);
    packQ4_0({ scale, codes }, out);
  },
  decode(bytes, out) {
    const scale = readHalf(bytes, 0);
    unpackNibbles(bytes.subarray(2)).forEach((code, j) => {
      out[j] = scale * (code - 8);
    });
  },
});
