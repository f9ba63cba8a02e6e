/** Q1_0: 128 signs under an f16 scale, the mean magnitude; x = scale or -scale. 18 bytes. */
import { blockReference, readHalf, writeHalf } from './blocks.ref.ts';

const f = Math.fround;

export const q1_0 = blockReference('q1_0', {
  encode(x, out) {
    writeHalf(out, 0, f(x.reduce((sum, v) => f(sum + Math.abs(v)), 0) / 128));
    x.forEach((v, j) => {
      if (v >= 0) out[2 + (j >> 3)] |= 1 << (j & 7);
    });
  },
  decode(bytes, out) {
    const scale = readHalf(bytes, 0);
    for (let j = 0; j < 128; j++) out[j] = (bytes[2 + (j >> 3)] >> (j & 7)) & 1 ? scale : -scale;
  },
});
