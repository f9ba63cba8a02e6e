// MXFP4: an E8M0 byte, 16 bytes of E2M1 codes; x = 2^(byte - 127) * value. See ref/mxfp4.ref.ts.
import { BLOCK, highNibbles, joinNibbles, lowNibbles, storeScaled16 } from './blocks';
import { absMax16, codes16, DOUBLED, halfOfE8m0 } from './e2m1';

const SIZE: usize = 17;

export function encode_mxfp4(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  for (const end = x + (<usize>rows * <usize>cols << 2); x < end; x += BLOCK, out += SIZE) {
    storeMxfp4(x, exponentOf(x) & 255, out);
  }
}

/** x: f32[32] -> a block under the scale of an E8M0 byte */
export function storeMxfp4(x: usize, byte: u32, out: usize): void {
  const half = f32x4.splat(halfOfE8m0(byte));
  store<u8>(out, byte);
  v128.store(out + 1, joinNibbles(codes16(x, half), codes16(x + 64, half)));
}

/**
 * floor(log2 of the largest of x: f32[32]) - 2 as E8M0, negative below 2^-125. The logarithm is an f32: the last values below a
 * power of two count as the power.
 */
export function exponentOf(x: usize): i32 {
  const largest = max(absMax16(x), absMax16(x + 64));
  if (largest == 0) return 0;
  const scaled = largest < 1.1754943508222875e-38 ? largest * 8388608 : largest; // subnormal: times 2^23
  const bits = reinterpret<u32>(scaled);
  let exponent = <i32>(bits >> 23) - (scaled == largest ? 127 : 150);
  // Steps of 2^-24 below 1; no logarithm is rounded up from further away than 89 of them.
  const below = 0x800000 - (bits & 0x7fffff);
  if (below < 128) exponent = <i32>Mathf.floor(<f32>(<f64>(exponent + 1) - <f64>below * (1.4426950408889634 / 16777216)));
  return exponent + 125;
}

export function decode_mxfp4(blocks: usize, out: usize, n: i32): void {
  for (const end = out + (<usize>n << 2); out < end; blocks += SIZE, out += BLOCK) {
    const half = f32x4.splat(halfOfE8m0(load<u8>(blocks))), bytes = v128.load(blocks + 1);
    storeScaled16(out, i8x16.swizzle(DOUBLED, lowNibbles(bytes)), half);
    storeScaled16(out + 64, i8x16.swizzle(DOUBLED, highNibbles(bytes)), half);
  }
}
