// What the kernels for blocks of 32 share. ggml's bytes need each float sum in C's order, so sums are never spread over lanes:
// four blocks advance together, one a lane ("quad"). The blocks of a matrix follow one another, rows included, so a quad is
// 128 values in a row; in the last one the last block fills the lanes that are left over.

export const BLOCK: usize = 128; // bytes of 32 f32

/** The address of block i + lane, or of the last block. */
@inline
export function blockAt(x: usize, i: usize, lane: usize, last: usize, bytes: usize): usize {
  return x + min(i + lane, last) * bytes;
}

/** The four blocks at a, b, c, d: f32[32] -> to: f32x4[32]. */
export function gather(a: usize, b: usize, c: usize, d: usize, to: usize): void {
  for (let j: usize = 0; j < BLOCK; j += 16, to += 64) {
    const va = v128.load(a + j), vb = v128.load(b + j), vc = v128.load(c + j), vd = v128.load(d + j);
    const ab = v128.shuffle<f32>(va, vb, 0, 4, 1, 5), AB = v128.shuffle<f32>(va, vb, 2, 6, 3, 7);
    const cd = v128.shuffle<f32>(vc, vd, 0, 4, 1, 5), CD = v128.shuffle<f32>(vc, vd, 2, 6, 3, 7);
    v128.store(to, v128.shuffle<f64>(ab, cd, 0, 2));
    v128.store(to, v128.shuffle<f64>(ab, cd, 1, 3), 16);
    v128.store(to, v128.shuffle<f64>(AB, CD, 0, 2), 32);
    v128.store(to, v128.shuffle<f64>(AB, CD, 1, 3), 48);
  }
}

/** 1 / scale in each lane, 0 where that is infinite. */
@inline
export function inverseOrZero(scale: v128): v128 {
  const inverse = f32x4.div(f32x4.splat(1), scale);
  return v128.and(inverse, f32x4.lt(f32x4.abs(inverse), f32x4.splat(Infinity)));
}

/**
 * `bias` in each lane, 0 where 1 / scale overflows although the scale is not 0. With inverseOrZero all codes are 0 there, as on
 * x86-64: x / scale is Inf or NaN, whose cast to an integer ends in a zero byte.
 */
@inline
export function biasUnlessOverflow(bias: f32, scale: v128): v128 {
  const infinite = f32x4.eq(f32x4.abs(f32x4.div(f32x4.splat(1), scale)), f32x4.splat(Infinity));
  return v128.andnot(f32x4.splat(bias), v128.and(infinite, f32x4.ne(scale, f32x4.splat(0))));
}

/** [a0..a3], .. [d0..d3] -> the maxima [a, b, c, d] */
@inline
export function maxOfEach(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.pmax(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.pmax(v128.shuffle<f32>(c, d, 0, 4, 1, 5), v128.shuffle<f32>(c, d, 2, 6, 3, 7));
  return f32x4.pmax(v128.shuffle<f64>(ab, cd, 0, 2), v128.shuffle<f64>(ab, cd, 1, 3));
}

@inline
export function minOfEach(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.pmin(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.pmin(v128.shuffle<f32>(c, d, 0, 4, 1, 5), v128.shuffle<f32>(c, d, 2, 6, 3, 7));
  return f32x4.pmin(v128.shuffle<f64>(ab, cd, 0, 2), v128.shuffle<f64>(ab, cd, 1, 3));
}

/** x: f32[32] -> f32x4 whose largest lane is the maximum */
@inline
export function blockMax(x: usize): v128 {
  return f32x4.pmax(
    f32x4.pmax(f32x4.pmax(v128.load(x), v128.load(x, 16)), f32x4.pmax(v128.load(x, 32), v128.load(x, 48))),
    f32x4.pmax(f32x4.pmax(v128.load(x, 64), v128.load(x, 80)), f32x4.pmax(v128.load(x, 96), v128.load(x, 112))),
  );
}

@inline
export function blockMin(x: usize): v128 {
  return f32x4.pmin(
    f32x4.pmin(f32x4.pmin(v128.load(x), v128.load(x, 16)), f32x4.pmin(v128.load(x, 32), v128.load(x, 48))),
    f32x4.pmin(f32x4.pmin(v128.load(x, 64), v128.load(x, 80)), f32x4.pmin(v128.load(x, 96), v128.load(x, 112))),
  );
}

/** i32x4 times 4 -> u8x16, saturating, at most `top` */
@inline
export function narrow16(a: v128, b: v128, c: v128, d: v128, top: i8): v128 {
  return i8x16.min_u(
    i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d)),
    i8x16.splat(top),
  );
}

/** sqrt-bent importance of four blocks, one a lane: weights = importance * sqrt(sigma2 + x^2); in and out f32x4[32]. */
export function bendQuad(x: usize, weights: usize, sigma2: f32): void {
  const sigma = f32x4.splat(sigma2);
  for (let j: usize = 0; j < 512; j += 16) {
    const v = v128.load(x + j);
    v128.store(weights + j, f32x4.mul(v128.load(weights + j), f32x4.sqrt(f32x4.add(sigma, f32x4.mul(v, v)))));
  }
}

/** Sum of squares in order. x: f32[n], n a multiple of 4 */
export function sumOfSquares(x: usize, n: i32): f32 {
  let sum: f32 = 0;
  for (const end = x + (<usize>n << 2); x < end; x += 16) {
    const v = v128.load(x);
    const squares = f32x4.mul(v, v);
    sum += f32x4.extract_lane(squares, 0);
    sum += f32x4.extract_lane(squares, 1);
    sum += f32x4.extract_lane(squares, 2);
    sum += f32x4.extract_lane(squares, 3);
  }
  return sum;
}

/** codes: i8x16 of 16 values -> out: f32[16] = code * scale */
@inline
export function storeScaled16(out: usize, codes: v128, scale: v128): void {
  const low = i16x8.extend_low_i8x16_s(codes), high = i16x8.extend_high_i8x16_s(codes);
  v128.store(out, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low)), scale));
  v128.store(out, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low)), scale), 16);
  v128.store(out, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high)), scale), 32);
  v128.store(out, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high)), scale), 48);
}

/** codes: i8x16 of 16 values -> out: f32[16] = code * scale + min, rounded twice */
@inline
export function storeAffine16(out: usize, codes: v128, scale: v128, min: v128): void {
  const low = i16x8.extend_low_i8x16_s(codes), high = i16x8.extend_high_i8x16_s(codes);
  v128.store(out, f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low)), scale), min));
  v128.store(out, f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low)), scale), min), 16);
  v128.store(out, f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high)), scale), min), 32);
  v128.store(out, f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high)), scale), min), 48);
}

/** The 16 low nibbles of 16 bytes. */
@inline
export function lowNibbles(bytes: v128): v128 {
  return v128.and(bytes, i8x16.splat(15));
}

@inline
export function highNibbles(bytes: v128): v128 {
  return i8x16.shr_u(bytes, 4);
}

/** Codes 0..15 of 16 values each -> bytes with `low` in the low nibble. */
@inline
export function joinNibbles(low: v128, high: v128): v128 {
  return v128.or(low, i16x8.shl(high, 4));
}

/** Codes 0..31 of values 0..15 and 16..31 -> 4 bytes of fifth bits and 16 bytes of nibbles. */
@inline
export function storeFiveBits(out: usize, low: v128, high: v128): void {
  store<u32>(out, i8x16.bitmask(i16x8.shl(low, 3)) | (i8x16.bitmask(i16x8.shl(high, 3)) << 16));
  v128.store(out + 4, joinNibbles(lowNibbles(low), lowNibbles(high)));
}

/** The 16 codes of the given half out of 4 bytes of fifth bits and 16 bytes of nibbles. */
@inline
export function fiveBits(at: usize, half: i32): v128 {
  const nibbles = v128.load(at + 4);
  const mask = i16x8.splat(load<i16>(at + 2 * half));
  const spread = v128.shuffle<i8>(mask, mask, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  const bit = i64x2.splat(0x8040201008040201);
  const fifth = v128.and(i8x16.eq(v128.and(spread, bit), bit), i8x16.splat(16));
  return v128.or(half ? highNibbles(nibbles) : lowNibbles(nibbles), fifth);
}
