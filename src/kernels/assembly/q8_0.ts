// Q8_0: f16 scale, 32 signed bytes; x = scale * code. Half away from zero. See ref/q8_0.ref.ts.
import { BLOCK, blockAt, inverseOrZero, maxOfEach, storeScaled16 } from './blocks';
import { halfOf, loadHalfSplat } from './half';

const SIZE: usize = 34;
// f32x4 of four blocks, read back one lane at a time.
const inverses: usize = memory.data(16, 16);
const halves: usize = memory.data(16, 16);

export function encode_q8_0(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  const blocks = (<usize>rows * <usize>cols) >> 5;
  for (let i: usize = 0; i < blocks; i += 4) {
    const a = blockAt(x, i, 0, blocks - 1, BLOCK), b = blockAt(x, i, 1, blocks - 1, BLOCK);
    const c = blockAt(x, i, 2, blocks - 1, BLOCK), d = blockAt(x, i, 3, blocks - 1, BLOCK);
    const scale = f32x4.div(maxOfEach(blockAbsMax(a), blockAbsMax(b), blockAbsMax(c), blockAbsMax(d)), f32x4.splat(127));
    v128.store(inverses, inverseOrZero(scale));
    v128.store(halves, halfOf(scale));
    const end = min(i + 4, blocks);
    for (let b = i, lane: usize = 0; b < end; b++, lane += 4, out += SIZE) {
      const from = x + b * BLOCK, inverse = v128.load32_splat(inverses + lane);
      store<u16>(out, load<u16>(halves + lane));
      v128.store(out + 2, rounded16(from, inverse));
      v128.store(out + 18, rounded16(from + 64, inverse));
    }
  }
}

@inline
function blockAbsMax(x: usize): v128 {
  return f32x4.pmax(
    f32x4.pmax(absMax2(x), absMax2(x + 32)),
    f32x4.pmax(absMax2(x + 64), absMax2(x + 96)),
  );
}

@inline
function absMax2(x: usize): v128 {
  return f32x4.pmax(f32x4.abs(v128.load(x)), f32x4.abs(v128.load(x, 16)));
}

/** x: f32[16] -> i8x16 = roundf(x * inverse) */
@inline
function rounded16(x: usize, inverse: v128): v128 {
  return i8x16.narrow_i16x8_s(
    i16x8.narrow_i32x4_s(halfAway(f32x4.mul(v128.load(x), inverse)), halfAway(f32x4.mul(v128.load(x, 16), inverse))),
    i16x8.narrow_i32x4_s(halfAway(f32x4.mul(v128.load(x, 32), inverse)), halfAway(f32x4.mul(v128.load(x, 48), inverse))),
  );
}

/** Adding the float before 0.5 and truncating is roundf for |x| < 2^22: 0.5 itself would lift the float before 0.5 to 1. */
@inline
function halfAway(x: v128): v128 {
  const sign = v128.and(x, i32x4.splat(0x80000000));
  return i32x4.trunc_sat_f32x4_s(f32x4.add(x, v128.or(sign, f32x4.splat(0.49999997))));
}

export function decode_q8_0(blocks: usize, out: usize, n: i32): void {
  for (const end = out + (<usize>n << 2); out < end; blocks += SIZE, out += BLOCK) {
    const scale = loadHalfSplat(blocks);
    storeScaled16(out, v128.load(blocks + 2), scale);
    storeScaled16(out + 64, v128.load(blocks + 18), scale);
  }
}
