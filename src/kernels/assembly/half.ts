// f16 <-> f32, one value or four lanes, and bf16; half to even, NaN becomes 0x7e00 with its sign (as ggml writes it).

/** x: f32x4 -> i32x4 of f16 bits. */
@inline
export function halfOf(x: v128): v128 {
  const magnitude = v128.and(x, i32x4.splat(0x7fffffff));
  const sign = i32x4.shr_u(v128.andnot(x, i32x4.splat(0x7fffffff)), 16);
  // |x| scaled up and down saturates to Inf what f16 cannot hold. Adding a power of two whose last place is the last place of
  // the f16 result rounds to it; for subnormals that place stops at 2^-24.
  const base = f32x4.mul(f32x4.mul(magnitude, f32x4.splat(5.192296858534828e33)), f32x4.splat(7.703719777548943e-34));
  const exponent = i32x4.max_s(v128.and(magnitude, i32x4.splat(0x7f800000)), i32x4.splat(0x38800000));
  const rounded = f32x4.add(i32x4.add(exponent, i32x4.splat(0x07800000)), base);
  const finite = i32x4.add(
    v128.and(i32x4.shr_u(rounded, 13), i32x4.splat(0x7c00)),
    v128.and(rounded, i32x4.splat(0x0fff)),
  );
  const nan = i32x4.gt_s(magnitude, i32x4.splat(0x7f800000));
  return v128.or(sign, v128.bitselect(i32x4.splat(0x7e00), finite, nan));
}

/** half: i32x4 of f16 bits -> f32x4; NaN keeps its payload and gets the quiet bit. */
@inline
export function floatOf(half: v128): v128 {
  const magnitude = v128.and(half, i32x4.splat(0x7fff));
  const sign = i32x4.shl(v128.xor(half, magnitude), 16);
  const finite = f32x4.mul(i32x4.shl(magnitude, 13), f32x4.splat(5.192296858534828e33)); // 2^112: bias 15 to bias 127
  const infinite = v128.and(i32x4.gt_s(magnitude, i32x4.splat(0x7bff)), i32x4.splat(0x7f800000));
  const quiet = v128.and(i32x4.gt_s(magnitude, i32x4.splat(0x7c00)), i32x4.splat(0x00400000));
  return v128.or(v128.or(finite, sign), v128.or(infinite, quiet));
}

/** x: f32x4 -> i32x4 of bf16 bits. */
@inline
export function bfloatOf(x: v128): v128 {
  const high = i32x4.shr_u(x, 16);
  const rounded = i32x4.shr_u(i32x4.add(x, i32x4.add(i32x4.splat(0x7fff), v128.and(high, i32x4.splat(1)))), 16);
  const nan = i32x4.gt_s(v128.and(x, i32x4.splat(0x7fffffff)), i32x4.splat(0x7f800000));
  return v128.bitselect(v128.or(high, i32x4.splat(64)), rounded, nan);
}

@inline
export function toHalf(x: f32): u16 {
  return <u16>i32x4.extract_lane(halfOf(f32x4.splat(x)), 0);
}

/** The f16 at an address. */
@inline
export function loadHalf(at: usize): f32 {
  return f32x4.extract_lane(floatOf(i32x4.splat(load<u16>(at))), 0);
}

/** The same four times. */
@inline
export function loadHalfSplat(at: usize): v128 {
  return floatOf(i32x4.splat(load<u16>(at)));
}

/** x as f32 (0), f16 (1) or bf16 (2) hold it. */
@inline
export function roundedTo(x: f32, type: i32): f32 {
  if (type == 0) return x;
  const v = f32x4.splat(x);
  return f32x4.extract_lane(type == 1 ? floatOf(halfOf(v)) : i32x4.shl(bfloatOf(v), 16), 0);
}

/** The nearest finite f16. */
@inline
export function storableHalf(x: f64): f32 {
  return roundedTo(<f32>max<f64>(-65504, min<f64>(65504, x)), 1);
}
