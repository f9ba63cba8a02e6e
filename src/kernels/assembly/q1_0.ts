// Q1_0: f16 scale, the mean magnitude, and 128 signs. See ref/q1_0.ref.ts.
import { storeScaled16 } from './blocks';
import { loadHalfSplat, toHalf } from './half';

const SIZE: usize = 18;

export function encode_q1_0(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  for (const end = x + (<usize>rows * <usize>cols << 2); x < end; out += SIZE) {
    let sum: f32 = 0;
    for (let j: usize = 0; j < 128; j += 8, x += 32) {
      const a = v128.load(x), b = v128.load(x, 16), zero = f32x4.splat(0);
      store<u8>(out + (j >> 3), i32x4.bitmask(f32x4.ge(a, zero)) | (i32x4.bitmask(f32x4.ge(b, zero)) << 4), 2);
      sum = sumOfFour(sumOfFour(sum, f32x4.abs(a)), f32x4.abs(b));
    }
    store<u16>(out, toHalf(sum / 128));
  }
}

@inline
function sumOfFour(sum: f32, v: v128): f32 {
  sum += f32x4.extract_lane(v, 0);
  sum += f32x4.extract_lane(v, 1);
  sum += f32x4.extract_lane(v, 2);
  return sum + f32x4.extract_lane(v, 3);
}

export function decode_q1_0(blocks: usize, out: usize, n: i32): void {
  for (const end = out + (<usize>n << 2); out < end; blocks += SIZE) {
    const scale = loadHalfSplat(blocks);
    for (let b: usize = 2; b < 18; b += 2, out += 64) {
      const signs = i16x8.splat(load<i16>(blocks + b));
      const spread = v128.shuffle<i8>(signs, signs, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
      const bit = i64x2.splat(0x8040201008040201);
      const positive = i8x16.eq(v128.and(spread, bit), bit);
      storeScaled16(out, i8x16.sub(v128.and(positive, i8x16.splat(2)), i8x16.splat(1)), scale);
    }
  }
}
