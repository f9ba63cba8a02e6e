// What TQ1_0, TQ2_0 and Q2_0 share: one scale, the largest magnitude, and -1, 0, 1 under it. See ref/ternary.ref.ts.
import { inverseOrZero } from './blocks';
import { absMax16 } from './e2m1';

/** u8[256]: 0, 1, 2 for -1, 0, 1 */
export const trits: usize = memory.data(256, 16);

/** x: f32[n], n a multiple of 16 -> `trits`, all of them `lost` where 1 / scale overflows; returns the scale */
export function toTernary(x: usize, n: usize, lost: u8): f32 {
  let scale: f32 = 0;
  for (let j: usize = 0; j < n; j += 16) scale = max(scale, absMax16(x + (j << 2)));
  if (scale != 0 && 1 / scale == Infinity) {
    memory.fill(trits, lost, n);
    return scale;
  }
  const inverse = inverseOrZero(f32x4.splat(scale));
  for (let j: usize = 0; j < n; j += 16) {
    const at = x + (j << 2);
    v128.store(trits + j, i8x16.narrow_i16x8_s(
      i16x8.narrow_i32x4_s(fourTrits(at, inverse), fourTrits(at + 16, inverse)),
      i16x8.narrow_i32x4_s(fourTrits(at + 32, inverse), fourTrits(at + 48, inverse)),
    ));
  }
  return scale;
}

/** x: f32[n] -> `trits`: what is nearest under a scale, which may be 0 */
export function tritsOver(x: usize, n: usize, scale: f32): void {
  const half = f32x4.splat(scale > 0 ? scale / 2 : Infinity);
  for (let j: usize = 0; j < n; j += 16) {
    const at = x + (j << 2);
    v128.store(trits + j, i8x16.narrow_i16x8_s(
      i16x8.narrow_i32x4_s(fourOver(at, half), fourOver(at + 16, half)),
      i16x8.narrow_i32x4_s(fourOver(at + 32, half), fourOver(at + 48, half)),
    ));
  }
}

@inline
function fourOver(x: usize, half: v128): v128 {
  const v = v128.load(x);
  return i32x4.add(i32x4.sub(i32x4.splat(1), f32x4.gt(v, half)), f32x4.lt(v, f32x4.neg(half)));
}

/** Half away from zero; the comparisons give -1 where they hold. */
@inline
function fourTrits(x: usize, inverse: v128): v128 {
  const scaled = f32x4.mul(v128.load(x), inverse);
  const up = f32x4.ge(scaled, f32x4.splat(0.5)), down = f32x4.le(scaled, f32x4.splat(-0.5));
  return i32x4.add(i32x4.sub(i32x4.splat(1), up), down);
}

/** Codes of 2 bits of 16 bytes, the n-th pair -> i8x16 of code - 1 */
@inline
export function pairs16(bytes: v128, n: i32): v128 {
  return i8x16.sub(v128.and(i8x16.shr_u(bytes, 2 * n), i8x16.splat(3)), i8x16.splat(1));
}
