// The search for blocks of 4-bit floats: neighbouring scales compete. See ref/search/floats.ref.ts.
import { BLOCK } from './blocks';
import { DOUBLED, halfOfUe4m3 } from './e2m1';
import { decode_mxfp4, encode_mxfp4, exponentOf, storeMxfp4 } from './mxfp4';
import { decode_nvfp4, encode_nvfp4, nvfp4Scale, storeGroup } from './nvfp4';
import { keepBetter, loss, ones, trial } from './search_keep';

export function search_mxfp4(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  encode_mxfp4(x, out, rows, cols, weights);
  const row = <usize>cols << 2;
  for (let r: i32 = 0; r < rows; r++, x += row) {
    for (let at: usize = 0; at < row; at += BLOCK, out += 17) {
      const w = weights ? weights + at : ones;
      const first = exponentOf(x + at);
      for (let step = 1; step >= -3; step--) {
        if (step == 0) continue;
        storeMxfp4(x + at, min(max(first + step, 0), 254), trial);
        keepBetter(x + at, w, out, 32, 17, decode_mxfp4);
      }
    }
  }
}

const BELOW: i32 = 10;
const ABOVE: i32 = 6;
const codes: usize = memory.data(16, 16);
const values: usize = memory.data(64, 16); // f32[16]

export function search_nvfp4(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  encode_nvfp4(x, out, rows, cols, weights);
  const row = <usize>cols << 2;
  for (let r: i32 = 0; r < rows; r++, x += row) {
    for (let at: usize = 0; at < row; at += 256, out += 36) {
      const w = weights ? weights + at : ones;
      memory.copy(trial, out, 36);
      decode_nvfp4(out, decoded, 64);
      for (let g: usize = 0; g < 4; g++) searchGroup(x + at + 64 * g, w + 64 * g, g);
      keepBetter(x + at, w, out, 64, 36, decode_nvfp4);
    }
  }
}

const decoded: usize = memory.data(256, 16); // f32[64]: ggml's block

/** x, w: f32[16]; replaces group g of the trial by the best that is better. */
function searchGroup(x: usize, w: usize, g: usize): void {
  const first = <i32>nvfp4Scale(x);
  let least = loss(x, decoded + 64 * g, w, 16);
  for (let byte = max(first - BELOW, 1); byte <= min(first + ABOVE, 126); byte++) {
    nearestMagnitudes(x, halfOfUe4m3(byte));
    const lost = loss(x, values, w, 16);
    if (!(lost < least)) continue;
    least = lost;
    storeGroup(v128.load(codes), byte, trial, g);
  }
}

/** x: f32[16] -> `codes` u8[16] and their `values` */
function nearestMagnitudes(x: usize, halfScale: f32): void {
  const half = f32x4.splat(halfScale);
  for (let j: usize = 0; j < 4; j++) {
    const v = v128.load(x + (j << 4));
    const count = above(f32x4.abs(v), half);
    const negative = v128.and(i32x4.shr_s(v, 31), i32x4.ne(count, i32x4.splat(0)));
    const code = v128.or(count, v128.and(negative, i32x4.splat(8)));
    const bytes = i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(code, code), code);
    v128.store32_lane(codes + (j << 2), bytes, 0);
    const doubled = i8x16.swizzle(DOUBLED, bytes);
    const whole = i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(doubled));
    v128.store(values + (j << 4), f32x4.mul(f32x4.convert_i32x4_s(whole), half));
  }
}

/** How many midpoints lie below each of four magnitudes. */
@inline
function above(magnitude: v128, half: v128): v128 {
  let count = f32x4.gt(magnitude, f32x4.mul(half, f32x4.splat(0.5)));
  count = i32x4.add(count, f32x4.gt(magnitude, f32x4.mul(half, f32x4.splat(1.5))));
  count = i32x4.add(count, f32x4.gt(magnitude, f32x4.mul(half, f32x4.splat(2.5))));
  count = i32x4.add(count, f32x4.gt(magnitude, f32x4.mul(half, f32x4.splat(3.5))));
  count = i32x4.add(count, f32x4.gt(magnitude, f32x4.mul(half, f32x4.splat(5))));
  count = i32x4.add(count, f32x4.gt(magnitude, f32x4.mul(half, f32x4.splat(7))));
  return i32x4.neg(i32x4.add(count, f32x4.gt(magnitude, f32x4.mul(half, f32x4.splat(10)))));
}
