// The codes nearest to values in units of a scale, for the searches of ref/search. See ref/search/grids.ref.ts.

/** 1 / x in each lane, 0 where that is no number. */
@inline
export function reciprocal4(x: v128): v128 {
  return finite4(f32x4.div(f32x4.splat(1), x));
}

/** x, 0 in the lanes where it is no number. */
@inline
export function finite4(x: v128): v128 {
  return v128.and(x, f32x4.lt(f32x4.abs(x), f32x4.splat(Infinity)));
}

/** Half to even; a NaN stays one. */
@inline
export function nearestWhole(y: v128, low: v128, high: v128): v128 {
  return f32x4.nearest(f32x4.pmin(f32x4.pmax(y, low), high));
}

/** A codebook value for each of 16 numbers at `at`: f32x4[4], in place. */
@inline
export function nearestInBook(at: usize): void {
  const ab = i16x8.narrow_i32x4_s(doubled(at), doubled(at + 16)), cd = i16x8.narrow_i32x4_s(doubled(at + 32), doubled(at + 48));
  // Midpoints, doubled, are at least 23 apart: each sixteenth of the range holds one at most.
  const cell = i8x16.narrow_i16x8_u(i16x8.shr_u(ab, 4), i16x8.shr_u(cd, 4));
  const rest = i8x16.narrow_i16x8_u(v128.and(ab, i16x8.splat(15)), v128.and(cd, i16x8.splat(15)));
  const upper = i8x16.sub(cell, i8x16.splat(16));
  // A swizzle gives 0 for what lies outside of its table.
  const code = v128.or(
    i8x16.swizzle(i8x16(0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7), cell),
    i8x16.swizzle(i8x16(8, 9, 9, 10, 11, 11, 12, 12, 13, 13, 14, 14, 14, 15, 15, 15), upper),
  );
  const edge = v128.or(
    i8x16.swizzle(i8x16(16, 9, 16, 16, 5, 16, 12, 16, 14, 16, 12, 16, 7, 16, 0, 7), cell),
    i8x16.swizzle(i8x16(14, 16, 6, 15, 16, 11, 16, 10, 16, 14, 16, 16, 10, 16, 16, 16), upper),
  );
  const nearest = i8x16.sub(code, i8x16.ge_u(rest, edge));
  const value = i8x16.swizzle(i8x16(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113), nearest);
  const low = i16x8.extend_low_i8x16_s(value), high = i16x8.extend_high_i8x16_s(value);
  v128.store(at, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low)));
  v128.store(at, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low)), 16);
  v128.store(at, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high)), 32);
  v128.store(at, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high)), 48);
}

/** floor(2 y) + 256 */
@inline
function doubled(at: usize): v128 {
  const y = f32x4.pmin(f32x4.pmax(v128.load(at), f32x4.splat(-128)), f32x4.splat(127.5));
  return i32x4.add(i32x4.trunc_sat_f32x4_s(f32x4.floor(f32x4.add(y, y))), i32x4.splat(256));
}
