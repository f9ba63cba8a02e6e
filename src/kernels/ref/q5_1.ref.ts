/** Q5_1: 32 values, f16 scale and minimum, the fifth bits of all codes, nibbles; x = scale * code + minimum. 24 bytes. */
import { blockReference, packFifthBits, packNibbles, readHalf, unpackFiveBits, weighRow, writeHalf } from './blocks.ref.ts';
import { type Found, fromRange, searchScaleAndMin } from './search.ref.ts';

export function packQ5_1({ scale, min, codes }: Found, out: Uint8Array): void {
  writeHalf(out, 0, scale);
  writeHalf(out, 2, min);
  packFifthBits(codes, out.subarray(4));
  packNibbles(codes, out.subarray(8));
}

export const q5_1 = blockReference('q5_1', {
  weigh: weighRow,
  encode(x, out, weights) {
    packQ5_1(weights ? searchScaleAndMin(x, 31, weights) : fromRange(x, 31), out);
  },
  decode(bytes, out) {
    const [scale, min] = [readHalf(bytes, 0), readHalf(bytes, 2)];
    unpackFiveBits(bytes.subarray(4, 8), bytes.subarray(8)).forEach((code, j) => {
      out[j] = Math.fround(scale * code) + min;
    });
  },
});
