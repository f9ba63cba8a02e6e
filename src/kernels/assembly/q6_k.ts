// Q6_K: low[128], high[64], int8 scales[16], f16 d. See ref/q6_k.ref.ts.
import { loadHalf, toHalf } from './half';
import { codes, expandSymmetric, fitScale, laneW, laneX, nearestInt, toLanes } from './k_common';
import { fitSymmetric, roundSymmetric, searchedSymmetric } from './k_symmetric';

const BYTES: usize = 210;

/** x: f32[rows, cols], weights: f32[cols] or 0. */
export function encode_q6_k(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  for (let row: i32 = 0; row < rows; row++) {
    for (let column: i32 = 0; column < cols; column += 256) {
      toLanes(x, laneX, 16);
      if (weights) toLanes(weights + (<usize>column << 2), laneW, 16);
      for (let quad: i32 = 0; quad < 4; quad++) fitSymmetric(quad, 32, weights != 0);
      finish(x, out);
      x += 1024;
      out += BYTES;
    }
  }
}

function finish(x: usize, out: usize): void {
  let largest: f32 = 0;
  for (let j: usize = 0; j < 64; j += 4) {
    const scale = load<f32>(fitScale + j);
    if (abs(scale) > abs(largest)) largest = scale;
  }
  if (abs(largest) < <f32>1e-15) {
    memory.fill(out, 0, BYTES);
    return;
  }
  const inverse: f32 = -128 / largest;
  store<u16>(out, toHalf(1 / inverse), 208);
  const d = loadHalf(out + 208);
  for (let j: i32 = 0; j < 16; j++) {
    const scale = <i8>min(127, nearestInt(inverse * load<f32>(fitScale + (<usize>j << 2))));
    store<i8>(out + <usize>j, scale, 192);
    const step: f32 = d * <f32>scale;
    // A zero step keeps the codes of the search, as C's `continue` does.
    if (step == 0) searchedSymmetric(x, j, 32);
    else roundSymmetric(x, j, step, 32);
  }
  packSix(out);
}

/** The 256 codes to 128 bytes of low bits and 64 of high ones. */
export function packSix(out: usize): void {
  for (let half: usize = 0; half < 2; half++) {
    for (let i: usize = 0; i < 32; i += 16) pack(codes + half * 128 + i, out + half * 64 + i, out + 128 + half * 32 + i);
  }
}

/** Codes of 16 weights and those 32, 64 and 96 later: low bits to low[0..16] and low[32..48], high bits to high[0..16]. */
@inline
function pack(from: usize, low: usize, high: usize): void {
  const nibble = i8x16.splat(15);
  const a = v128.load(from, 0);
  const b = v128.load(from, 32);
  const c = v128.load(from, 64);
  const d = v128.load(from, 96);
  v128.store(low, v128.or(v128.and(a, nibble), i8x16.shl(c, 4)), 0);
  v128.store(low, v128.or(v128.and(b, nibble), i8x16.shl(d, 4)), 32);
  const ab = v128.or(i8x16.shr_u(a, 4), i8x16.shl(i8x16.shr_u(b, 4), 2));
  const cd = v128.or(i8x16.shl(i8x16.shr_u(c, 4), 4), i8x16.shl(i8x16.shr_u(d, 4), 6));
  v128.store(high, v128.or(ab, cd));
}

/** blocks -> out: f32[n]. */
export function decode_q6_k(blocks: usize, out: usize, n: i32): void {
  for (let b: i32 = 0; b < n; b += 256) {
    const d = loadHalf(blocks + 208);
    for (let half: usize = 0; half < 2; half++) {
      for (let i: usize = 0; i < 2; i++) {
        const scales = blocks + 192 + half * 8 + i;
        const low = blocks + half * 64 + i * 16;
        const left = v128.load(low, 0);
        const right = v128.load(low, 32);
        const high = v128.load(blocks + 128 + half * 32 + i * 16);
        const to = out + i * 64;
        unpack(v128.and(left, i8x16.splat(15)), i8x16.shl(high, 4), d * <f32>load<i8>(scales, 0), to);
        unpack(v128.and(right, i8x16.splat(15)), i8x16.shl(high, 2), d * <f32>load<i8>(scales, 2), to + 128);
        unpack(i8x16.shr_u(left, 4), high, d * <f32>load<i8>(scales, 4), to + 256);
        unpack(i8x16.shr_u(right, 4), i8x16.shr_u(high, 2), d * <f32>load<i8>(scales, 6), to + 384);
      }
      out += 512;
    }
    blocks += BYTES;
  }
}

/** high: the upper two bits in bits 4 and 5 of each byte. */
@inline
function unpack(low: v128, high: v128, step: f32, to: usize): void {
  const code = v128.or(low, v128.and(high, i8x16.splat(0x30)));
  expandSymmetric(i8x16.sub(code, i8x16.splat(32)), f32x4.splat(step), to);
}
