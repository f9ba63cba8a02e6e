// Q4_K: f16 d, f16 dmin, scales[12], codes[128]. See ref/q4_k.ref.ts.
import { fitAffine } from './k_affine';
import { finishAffine32, groupMin, groupScale, weighAffine32 } from './k_affine32';
import { codes, expandAffine } from './k_common';
import { loadHalf } from './half';

const BYTES: usize = 144;

/** x: f32[rows, cols], weights: f32[cols] or 0. */
export function encode_q4_k(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  for (let row: i32 = 0; row < rows; row++) {
    for (let column: i32 = 0; column < cols; column += 256) {
      weighAffine32(x, weights ? weights + (<usize>column << 2) : 0);
      if (weights) fitAffine(32, 15, -0.9, 0.05, 36, false);
      else fitAffine(32, 15, -1, 0.1, 20, false);
      finishAffine32(x, out, weights != 0, 15, 255);
      packNibbles32(out + 16);
      x += 1024;
      out += BYTES;
    }
  }
}

/** The 256 codes to 128 bytes. */
export function packNibbles32(out: usize): void {
  for (let i: usize = 0; i < 128; i += 32) {
    pack(codes + 2 * i, out + i);
    pack(codes + 2 * i + 16, out + 16 + i);
  }
}

/** Sixteen codes in the low nibbles, those 32 weights later in the high ones. */
@inline
function pack(from: usize, to: usize): void {
  v128.store(to, v128.or(v128.load(from), i16x8.shl(v128.load(from, 32), 4)));
}

/** blocks -> out: f32[n]. */
export function decode_q4_k(blocks: usize, out: usize, n: i32): void {
  const nibble = i8x16.splat(15);
  for (let b: i32 = 0; b < n; b += 256) {
    const d = loadHalf(blocks);
    const dmin = loadHalf(blocks + 2);
    for (let j: i32 = 0; j < 8; j += 2) {
      const from = blocks + 16 + (<usize>j << 4);
      const step0 = f32x4.splat(d * <f32>groupScale(blocks + 4, j));
      const min0 = f32x4.splat(dmin * <f32>groupMin(blocks + 4, j));
      const step1 = f32x4.splat(d * <f32>groupScale(blocks + 4, j + 1));
      const min1 = f32x4.splat(dmin * <f32>groupMin(blocks + 4, j + 1));
      const left = v128.load(from, 0);
      const right = v128.load(from, 16);
      expandAffine(v128.and(left, nibble), step0, min0, out);
      expandAffine(v128.and(right, nibble), step0, min0, out + 64);
      expandAffine(i8x16.shr_u(left, 4), step1, min1, out + 128);
      expandAffine(i8x16.shr_u(right, 4), step1, min1, out + 192);
      out += 256;
    }
    blocks += BYTES;
  }
}
