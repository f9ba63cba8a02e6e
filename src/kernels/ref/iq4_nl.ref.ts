/** IQ4_NL: 32 values, f16 scale, 4-bit codes of a fixed codebook; x = scale * codebook[code]. 18 bytes. */
import { blockReference, packNibbles, readHalf, unpackNibbles, writeHalf } from './blocks.ref.ts';
import { codebook, codebookCodes, codebookScale } from './iq4.ref.ts';
import { bentImportance, sumOfSquares } from './k-common.ref.ts';

const f = Math.fround;

export const iq4_nl = blockReference('iq4_nl', {
  encode(x, out, importance) {
    const weights = importance ? bentImportance(x, importance, f(sumOfSquares(x) * (2 / 32))) : x.map((v) => v * v);
    const scale = codebookScale(x, weights);
    writeHalf(out, 0, scale);
    packNibbles(codebookCodes(x, scale), out.subarray(2));
  },
  decode(bytes, out) {
    const scale = readHalf(bytes, 0);
    unpackNibbles(bytes.subarray(2)).forEach((code, j) => {
      out[j] = scale * codebook[code];
    });
  },
});
