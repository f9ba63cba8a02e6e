// Q2_0: f16 scale, 16 bytes of four 2-bit codes; x = scale * (code - 1). See ref/q2_0.ref.ts.
import { storeScaled16 } from './blocks';
import { loadHalfSplat, toHalf } from './half';
import { pairs16, toTernary, trits } from './ternary';

const SIZE: usize = 18;

export function encode_q2_0(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  for (const end = x + (<usize>rows * <usize>cols << 2); x < end; x += 256, out += SIZE) q2_0Block(toTernary(x, 64, 0), out);
}

/** The block of the `trits`. */
export function q2_0Block(scale: f32, out: usize): void {
  store<u16>(out, toHalf(scale));
  for (let b: usize = 0; b < 16; b++) {
    const four = load<u32>(trits + 4 * b);
    store<u8>(out + b, four | (four >> 6) | (four >> 12) | (four >> 18), 2);
  }
}

export function decode_q2_0(blocks: usize, out: usize, n: i32): void {
  for (const end = out + (<usize>n << 2); out < end; blocks += SIZE, out += 256) {
    const scale = loadHalfSplat(blocks), bytes = v128.load(blocks + 2);
    const a = pairs16(bytes, 0), b = pairs16(bytes, 1), c = pairs16(bytes, 2), d = pairs16(bytes, 3);
    const ab = v128.shuffle<i8>(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const AB = v128.shuffle<i8>(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    const cd = v128.shuffle<i8>(c, d, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const CD = v128.shuffle<i8>(c, d, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    storeScaled16(out, v128.shuffle<i16>(ab, cd, 0, 8, 1, 9, 2, 10, 3, 11), scale);
    storeScaled16(out + 64, v128.shuffle<i16>(ab, cd, 4, 12, 5, 13, 6, 14, 7, 15), scale);
    storeScaled16(out + 128, v128.shuffle<i16>(AB, CD, 0, 8, 1, 9, 2, 10, 3, 11), scale);
    storeScaled16(out + 192, v128.shuffle<i16>(AB, CD, 4, 12, 5, 13, 6, 14, 7, 15), scale);
  }
}
