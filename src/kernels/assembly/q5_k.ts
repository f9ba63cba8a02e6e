// Q5_K: f16 d, f16 dmin, scales[12], high[32], codes[128]. See ref/q5_k.ref.ts.
import { loadHalf } from './half';
import { fitAffine } from './k_affine';
import { finishAffine32, groupMin, groupScale, weighAffine32 } from './k_affine32';
import { codes, expandAffine } from './k_common';

const BYTES: usize = 176;

/** x: f32[rows, cols], weights: f32[cols] or 0. */
export function encode_q5_k(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  for (let row: i32 = 0; row < rows; row++) {
    for (let column: i32 = 0; column < cols; column += 256) {
      weighAffine32(x, weights ? weights + (<usize>column << 2) : 0);
      if (weights) fitAffine(32, 31, -0.9, 0.05, 36, false);
      else fitAffine(32, 31, -0.5, 0.1, 15, false);
      finishAffine32(x, out, weights != 0, 31, 63);
      packFive32(out + 16);
      x += 1024;
      out += BYTES;
    }
  }
}

/** The 256 codes to 32 bytes of fifth bits and 128 of nibbles. */
export function packFive32(out: usize): void {
  pack(codes, out);
  pack(codes + 16, out + 16);
}

/** Sixteen codes of each group of 32: fifth bits to 16 bytes of `high`, nibbles to the codes behind them. */
@inline
function pack(from: usize, high: usize): void {
  const nibble = i8x16.splat(15);
  let fifth = i8x16.splat(0);
  for (let j: i32 = 0; j < 8; j += 2) {
    const even = v128.load(from + (<usize>j << 5), 0);
    const odd = v128.load(from + (<usize>j << 5), 32);
    fifth = v128.or(fifth, i16x8.shl(i16x8.shr_u(v128.andnot(even, nibble), 4), j));
    fifth = v128.or(fifth, i16x8.shl(i16x8.shr_u(v128.andnot(odd, nibble), 4), j + 1));
    v128.store(high + (<usize>j << 4), v128.or(v128.and(even, nibble), i16x8.shl(v128.and(odd, nibble), 4)), 32);
  }
  v128.store(high, fifth);
}

/** blocks -> out: f32[n]. */
export function decode_q5_k(blocks: usize, out: usize, n: i32): void {
  const nibble = i8x16.splat(15);
  for (let b: i32 = 0; b < n; b += 256) {
    const d = loadHalf(blocks);
    const dmin = loadHalf(blocks + 2);
    for (let j: i32 = 0; j < 8; j += 2) {
      const step0 = f32x4.splat(d * <f32>groupScale(blocks + 4, j));
      const min0 = f32x4.splat(dmin * <f32>groupMin(blocks + 4, j));
      const step1 = f32x4.splat(d * <f32>groupScale(blocks + 4, j + 1));
      const min1 = f32x4.splat(dmin * <f32>groupMin(blocks + 4, j + 1));
      for (let i: usize = 0; i < 32; i += 16) {
        const low = v128.load(blocks + 48 + (<usize>j << 4) + i);
        const high = v128.load(blocks + 16 + i);
        const to = out + (i << 2);
        expandAffine(v128.or(v128.and(low, nibble), fifthBit(high, j)), step0, min0, to);
        expandAffine(v128.or(i8x16.shr_u(low, 4), fifthBit(high, j + 1)), step1, min1, to + 128);
      }
      out += 256;
    }
    blocks += BYTES;
  }
}

/** Bit j of each byte as 0 or 16. */
@inline
function fifthBit(high: v128, j: i32): v128 {
  return v128.and(i8x16.shl(i8x16.shr_u(high, j), 4), i8x16.splat(16));
}
