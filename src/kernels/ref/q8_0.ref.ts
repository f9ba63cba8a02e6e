/** Q8_0: 32 values, f16 scale, signed bytes; x = scale * code. 34 bytes. Rounds half away from zero. */
import { blockReference, castInt8, readHalf, writeHalf } from './blocks.ref.ts';

const f = Math.fround;

export const q8_0 = blockReference('q8_0', {
  encode(x, out) {
    const scale = f(x.reduce((max, v) => Math.max(max, Math.abs(v)), 0) / 127);
    const inverse = scale !== 0 ? f(1 / scale) : 0;
    writeHalf(out, 0, scale);
    x.forEach((v, j) => {
      out[2 + j] = castInt8(halfAway(f(v * inverse)));
    });
  },
  decode(bytes, out) {
    const scale = readHalf(bytes, 0);
    new Int8Array(bytes.slice(2).buffer).forEach((code, j) => {
      out[j] = scale * code;
    });
  },
});

/** C's roundf; the sum is exact because it is done in f64. */
function halfAway(x: number): number {
  return Math.sign(x) * Math.floor(Math.abs(x) + 0.5);
}
