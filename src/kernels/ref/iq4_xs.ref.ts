/**
 * IQ4_XS: 256 values in 8 groups of 32, f16 scale, 6-bit group scales (2 high bits in one u16, 4 low bits in 4 bytes),
 * 4-bit codes of IQ4_NL's codebook; x = scale * (groupScale - 32) * codebook[code]. 136 bytes.
 */
import { nearestInt } from '../../numeric/rounding.ts';
import { blockReference, packNibbles, readHalf, unpackNibbles, writeHalf } from './blocks.ref.ts';
import { codebook, codebookCodes, codebookScale } from './iq4.ref.ts';
import { bentImportance, sumOfSquares } from './k-common.ref.ts';
import { signedExtreme } from './search.ref.ts';

const f = Math.fround;
const highBits = 2;
const lowBits = 4;
const codes = 8;

function packLevel(level: number, g: number, out: Uint8Array): void {
  const stored = level + 32;
  out[lowBits + (g >> 1)] |= (stored & 15) << (4 * (g & 1));
  out[highBits + (g >> 2)] |= (stored >> 4) << (2 * (g & 3));
}

/** levels: [8], the codes of x under them; out: zeroed. */
export function packIq4Xs(x: Float32Array, d: number, levels: ArrayLike<number>, out: Uint8Array): void {
  writeHalf(out, 0, d);
  for (let g = 0; g < 8; g++) {
    packLevel(levels[g]!, g, out);
    packNibbles(codebookCodes(x.subarray(32 * g, 32 * g + 32), f(d * levels[g]!)), out.subarray(codes + 16 * g));
  }
}

export const iq4_xs = blockReference('iq4_xs', {
  encode(x, out, importance) {
    const weights = importance ? bentImportance(x, importance, f(sumOfSquares(x) * (2 / 256))) : x.map((v) => v * v);
    const scales = Float32Array.from({ length: 8 }, (_, g) =>
      codebookScale(x.subarray(32 * g, 32 * g + 32), weights.subarray(32 * g, 32 * g + 32)),
    );
    const scale = f(-signedExtreme(scales) / 32);
    const inverse = scale !== 0 ? f(1 / scale) : 0;
    writeHalf(out, 0, scale);
    scales.forEach((groupScale, g) => {
      const level = Math.max(-32, Math.min(31, nearestInt(f(inverse * groupScale))));
      packLevel(level, g, out);
      packNibbles(codebookCodes(x.subarray(32 * g, 32 * g + 32), f(scale * level)), out.subarray(codes + 16 * g));
    });
  },
  decode(bytes, out) {
    const scale = readHalf(bytes, 0);
    for (let g = 0; g < 8; g++) {
      const low = (bytes[lowBits + (g >> 1)] >> (4 * (g & 1))) & 15;
      const high = (bytes[highBits + (g >> 2)] >> (2 * (g & 3))) & 3;
      const groupScale = f(scale * ((low | (high << 4)) - 32));
      unpackNibbles(bytes.subarray(codes + 16 * g)).forEach((code, j) => {
        out[32 * g + j] = groupScale * codebook[code];
      });
    }
  },
});
