// Q4_1 and Q5_1 without importance: the minimum of a block gets code 0 (quantize_row_q4_1_ref, quantize_row_q5_1_ref).
import { BLOCK, blockAt, blockMax, blockMin, maxOfEach, minOfEach, narrow16 } from './blocks';

/** The minima of blocks i .. i + 3. Where the minimum is a zero, it is the first of the zeros: its sign is stored. */
@inline
export function quadMin(x: usize, i: usize, last: usize): v128 {
  const a = blockAt(x, i, 0, last, BLOCK), b = blockAt(x, i, 1, last, BLOCK);
  const c = blockAt(x, i, 2, last, BLOCK), d = blockAt(x, i, 3, last, BLOCK);
  const low = minOfEach(blockMin(a), blockMin(b), blockMin(c), blockMin(d));
  const zero = i32x4.bitmask(f32x4.eq(low, f32x4.splat(0)));
  return zero ? withFirstZero(low, zero, a, b, c, d) : low;
}

function withFirstZero(low: v128, zero: i32, a: usize, b: usize, c: usize, d: usize): v128 {
  if (zero & 1) low = f32x4.replace_lane(low, 0, firstZero(a));
  if (zero & 2) low = f32x4.replace_lane(low, 1, firstZero(b));
  if (zero & 4) low = f32x4.replace_lane(low, 2, firstZero(c));
  if (zero & 8) low = f32x4.replace_lane(low, 3, firstZero(d));
  return low;
}

function firstZero(x: usize): f32 {
  while (load<f32>(x) != 0) x += 4;
  return load<f32>(x);
}

/** (max - min) / top of blocks i .. i + 3, +0 where all values are equal. */
@inline
export function quadStep(x: usize, i: usize, last: usize, low: v128, top: f32): v128 {
  const a = blockAt(x, i, 0, last, BLOCK), b = blockAt(x, i, 1, last, BLOCK);
  const c = blockAt(x, i, 2, last, BLOCK), d = blockAt(x, i, 3, last, BLOCK);
  const high = maxOfEach(blockMax(a), blockMax(b), blockMax(c), blockMax(d));
  return f32x4.div(f32x4.abs(f32x4.sub(high, low)), f32x4.splat(top));
}

/** x: f32[16] -> u8x16 = trunc((x - min) * inverse + bias), at most `top` */
@inline
export function offsetCodes16(x: usize, low: v128, inverse: v128, bias: v128, top: i8): v128 {
  return narrow16(
    i32x4.trunc_sat_f32x4_s(f32x4.add(f32x4.mul(f32x4.sub(v128.load(x), low), inverse), bias)),
    i32x4.trunc_sat_f32x4_s(f32x4.add(f32x4.mul(f32x4.sub(v128.load(x, 16), low), inverse), bias)),
    i32x4.trunc_sat_f32x4_s(f32x4.add(f32x4.mul(f32x4.sub(v128.load(x, 32), low), inverse), bias)),
    i32x4.trunc_sat_f32x4_s(f32x4.add(f32x4.mul(f32x4.sub(v128.load(x, 48), low), inverse), bias)),
    top,
  );
}
