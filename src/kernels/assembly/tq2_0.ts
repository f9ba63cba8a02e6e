// TQ2_0: 64 bytes of 2-bit codes, f16 scale; x = scale * (code - 1). See ref/tq2_0.ref.ts.
import { storeScaled16 } from './blocks';
import { loadHalfSplat, toHalf } from './half';
import { pairs16, toTernary, trits } from './ternary';

const SIZE: usize = 66;

export function encode_tq2_0(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  for (const end = x + (<usize>rows * <usize>cols << 2); x < end; x += 1024, out += SIZE) tq2_0Block(toTernary(x, 256, 1), out);
}

/** The block of the `trits`. */
export function tq2_0Block(scale: f32, out: usize): void {
  for (let half: usize = 0; half < 2; half++) {
    for (let m: usize = 0; m < 32; m += 16) {
      const from = trits + 128 * half + m;
      const low = v128.or(v128.load(from), i16x8.shl(v128.load(from, 32), 2));
      const high = v128.or(i16x8.shl(v128.load(from, 64), 4), i16x8.shl(v128.load(from, 96), 6));
      v128.store(out + 32 * half + m, v128.or(low, high));
    }
  }
  store<u16>(out, toHalf(scale), 64);
}

export function decode_tq2_0(blocks: usize, out: usize, n: i32): void {
  for (const end = out + (<usize>n << 2); out < end; blocks += SIZE, out += 1024) {
    const scale = loadHalfSplat(blocks + 64);
    for (let half: usize = 0; half < 2; half++) {
      for (let m: usize = 0; m < 32; m += 16) {
        const bytes = v128.load(blocks + 32 * half + m), to = out + ((128 * half + m) << 2);
        storeScaled16(to, pairs16(bytes, 0), scale);
        storeScaled16(to + 128, pairs16(bytes, 1), scale);
        storeScaled16(to + 256, pairs16(bytes, 2), scale);
        storeScaled16(to + 384, pairs16(bytes, 3), scale);
      }
    }
  }
}
