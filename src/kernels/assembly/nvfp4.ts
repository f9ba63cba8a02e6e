// NVFP4: four unsigned E4M3 scales, 32 bytes of E2M1 codes; x = scale * value. See ref/nvfp4.ref.ts.
import { highNibbles, lowNibbles, storeScaled16 } from './blocks';
import { absMax16, codes16, DOUBLED, halfOfUe4m3, ue4m3Of } from './e2m1';

const SIZE: usize = 36;

export function encode_nvfp4(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  for (const end = x + (<usize>rows * <usize>cols << 2); x < end; out += SIZE) {
    for (let g: usize = 0; g < 4; g++, x += 64) {
      const byte = nvfp4Scale(x);
      storeGroup(codes16(x, f32x4.splat(halfOfUe4m3(byte))), byte, out, g);
    }
  }
}

/** The byte of the scale that puts the largest of x: f32[16] on 6. */
@inline
export function nvfp4Scale(x: usize): u32 {
  return ue4m3Of(absMax16(x) / 6);
}

/** codes: i8x16 -> group g of the block at out, under the scale of a byte */
@inline
export function storeGroup(codes: v128, byte: u32, out: usize, g: usize): void {
  store<u8>(out + g, byte);
  store<u64>(out + 8 * g, i64x2.extract_lane(codes, 0) | (i64x2.extract_lane(codes, 1) << 4), 4);
}

export function decode_nvfp4(blocks: usize, out: usize, n: i32): void {
  for (const end = out + (<usize>n << 2); out < end; blocks += SIZE) {
    for (let g: usize = 0; g < 4; g++, out += 64) {
      const bytes = v128.load64_zero(blocks + 8 * g, 4);
      const codes = v128.shuffle<i64>(lowNibbles(bytes), highNibbles(bytes), 0, 2);
      storeScaled16(out, i8x16.swizzle(DOUBLED, codes), f32x4.splat(halfOfUe4m3(load<u8>(blocks + g))));
    }
  }
}
