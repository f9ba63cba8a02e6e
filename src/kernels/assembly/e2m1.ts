// What MXFP4 and NVFP4 share: the doubled values of E2M1, and the nearest of them. See ref/e2m1.ref.ts.

/** i8x16: twice what the codes mean. */
export const DOUBLED = i8x16(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

/** x: f32[16], half: half of the scale in each lane -> i8x16 of codes */
@inline
export function codes16(x: usize, half: v128): v128 {
  return i8x16.narrow_i16x8_u(
    i16x8.narrow_i32x4_s(fourCodes(v128.load(x), half), fourCodes(v128.load(x, 16), half)),
    i16x8.narrow_i32x4_s(fourCodes(v128.load(x, 32), half), fourCodes(v128.load(x, 48), half)),
  );
}

/** The first nearest value: magnitudes compete upwards, and the sign follows, but not to a negative zero. */
@inline
function fourCodes(x: v128, half: v128): v128 {
  const magnitude = f32x4.abs(x);
  let least = magnitude, code = i32x4.splat(0);
  for (let k = 1; k < 8; k++) {
    const error = f32x4.abs(f32x4.sub(f32x4.mul(f32x4.splat(doubled(k)), half), magnitude));
    const nearer = f32x4.lt(error, least);
    least = v128.bitselect(error, least, nearer);
    code = v128.bitselect(i32x4.splat(k), code, nearer);
  }
  const negative = v128.and(i32x4.shr_s(x, 31), i32x4.ne(code, i32x4.splat(0)));
  return v128.or(code, v128.and(negative, i32x4.splat(8)));
}

@inline
function doubled(k: i32): f32 {
  const whole: i32 = k < 5 ? k : k == 5 ? 6 : k == 6 ? 8 : 12;
  return <f32>whole;
}

/** The largest magnitude of f32[16]. */
@inline
export function absMax16(x: usize): f32 {
  const four = f32x4.pmax(
    f32x4.pmax(f32x4.abs(v128.load(x)), f32x4.abs(v128.load(x, 16))),
    f32x4.pmax(f32x4.abs(v128.load(x, 32)), f32x4.abs(v128.load(x, 48))),
  );
  return max(
    max(f32x4.extract_lane(four, 0), f32x4.extract_lane(four, 1)),
    max(f32x4.extract_lane(four, 2), f32x4.extract_lane(four, 3)),
  );
}

/** Half of the power of two of an E8M0 byte. */
@inline
export function halfOfE8m0(byte: u32): f32 {
  return reinterpret<f32>(byte < 2 ? 0x00200000 << byte : (byte - 1) << 23);
}

/** Half of the value of an unsigned E4M3 byte; 127 is 0. */
@inline
export function halfOfUe4m3(byte: u32): f32 {
  if (byte == 127) return 0;
  // The fields moved into f32 have a bias of 127 instead of 7 (and 1 for the half): the product sets that right.
  return reinterpret<f32>((byte & 127) << 20) * reinterpret<f32>((127 + 119) << 23);
}

/** The unsigned E4M3 byte of x >= 0, half up; what would round to 256 or more is 448. */
export function ue4m3Of(x: f32): u32 {
  if (!(x > 0)) return 0;
  const bits = reinterpret<u32>(x);
  if (bits < <u32>((127 - 6) << 23)) return min<u32>(7, <u32>(x * 512 + 0.5));
  const byte = ((bits + (1 << 19)) >> 20) - ((127 - 7) << 3);
  return byte < 120 ? byte : 126;
}
