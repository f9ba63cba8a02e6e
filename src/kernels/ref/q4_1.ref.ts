/** Q4_1: 32 values, f16 scale and minimum, 4-bit codes; x = scale * code + minimum. 20 bytes. */
import { blockReference, packNibbles, readHalf, unpackNibbles, weighRow, writeHalf } from './blocks.ref.ts';
import { type Found, fromRange, searchScaleAndMin } from './search.ref.ts';

export function packQ4_1({ scale, min, codes }: Found, out: Uint8Array): void {
  writeHalf(out, 0, scale);
  writeHalf(out, 2, min);
  packNibbles(codes, out.subarray(4));
}

export const q4_1 = blockReference('q4_1', {
  weigh: weighRow,
  encode(x, out, weights) {
    packQ4_1(weights ? searchScaleAndMin(x, 15, weights) : fromRange(x, 15), out);
  },
  decode(bytes, out) {
    const [scale, min] = [readHalf(bytes, 0), readHalf(bytes, 2)];
    unpackNibbles(bytes.subarray(4)).forEach((code, j) => {
      out[j] = Math.fround(scale * code) + min;
    });
  },
});
