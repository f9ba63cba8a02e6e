// Q4_0 and Q5_0 without importance: the signed extreme of a block gets code 0 (quantize_row_q4_0_ref, quantize_row_q5_0_ref).
import { BLOCK, blockAt, blockMax, blockMin, maxOfEach, minOfEach, narrow16 } from './blocks';

/** Of each block i .. i + 3 the value of largest magnitude, +0 where all are zero. */
@inline
export function quadExtreme(x: usize, i: usize, last: usize): v128 {
  const a = blockAt(x, i, 0, last, BLOCK), b = blockAt(x, i, 1, last, BLOCK);
  const c = blockAt(x, i, 2, last, BLOCK), d = blockAt(x, i, 3, last, BLOCK);
  const high = maxOfEach(blockMax(a), blockMax(b), blockMax(c), blockMax(d));
  const low = minOfEach(blockMin(a), blockMin(b), blockMin(c), blockMin(d));
  const depth = f32x4.neg(low);
  const extreme = v128.bitselect(low, high, f32x4.gt(depth, high));
  const alive = f32x4.ne(extreme, f32x4.splat(0));
  const tied = v128.and(f32x4.eq(depth, high), alive);
  if (v128.any_true(tied)) return firstOfTied(v128.and(extreme, alive), i32x4.bitmask(tied), a, b, c, d);
  return v128.and(extreme, alive);
}

/** Where -m and +m both occur the first of them counts. */
function firstOfTied(extreme: v128, tied: i32, a: usize, b: usize, c: usize, d: usize): v128 {
  if (tied & 1) extreme = f32x4.replace_lane(extreme, 0, firstExtreme(a, f32x4.extract_lane(extreme, 0)));
  if (tied & 2) extreme = f32x4.replace_lane(extreme, 1, firstExtreme(b, f32x4.extract_lane(extreme, 1)));
  if (tied & 4) extreme = f32x4.replace_lane(extreme, 2, firstExtreme(c, f32x4.extract_lane(extreme, 2)));
  if (tied & 8) extreme = f32x4.replace_lane(extreme, 3, firstExtreme(d, f32x4.extract_lane(extreme, 3)));
  return extreme;
}

function firstExtreme(x: usize, extreme: f32): f32 {
  while (abs(load<f32>(x)) != abs(extreme)) x += 4;
  return load<f32>(x);
}

/** x: f32[16] -> u8x16 = trunc(x * inverse + bias), at most `top` */
@inline
export function codes16(x: usize, inverse: v128, bias: v128, top: i8): v128 {
  return narrow16(
    i32x4.trunc_sat_f32x4_s(f32x4.add(f32x4.mul(v128.load(x), inverse), bias)),
    i32x4.trunc_sat_f32x4_s(f32x4.add(f32x4.mul(v128.load(x, 16), inverse), bias)),
    i32x4.trunc_sat_f32x4_s(f32x4.add(f32x4.mul(v128.load(x, 32), inverse), bias)),
    i32x4.trunc_sat_f32x4_s(f32x4.add(f32x4.mul(v128.load(x, 48), inverse), bias)),
    top,
  );
}
