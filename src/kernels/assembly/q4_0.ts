// Q4_0: f16 scale, 16 bytes of nibbles; x = scale * (code - 8). See ref/q4_0.ref.ts.
import {
  BLOCK, biasUnlessOverflow, highNibbles, inverseOrZero, joinNibbles, lowNibbles, storeScaled16, sumOfSquares,
} from './blocks';
import { halfOf, loadHalfSplat } from './half';
import { fitScale } from './k_common';
import { codes16, quadExtreme } from './symmetric';
import { codesOfLane, searchSymmetric } from './weighted';

const SIZE: usize = 18;
// f32x4 of four blocks, read back one lane at a time.
const inverses: usize = memory.data(16, 16);
const biases: usize = memory.data(16, 16);
const halves: usize = memory.data(16, 16);

export function encode_q4_0(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  const blocks = (<usize>rows * <usize>cols) >> 5;
  if (weights) {
    for (const end = x + blocks * BLOCK; x < end; x += <usize>cols << 2) out = encodeRow(x, out, cols, weights);
    return;
  }
  for (let i: usize = 0; i < blocks; i += 4) {
    const scale = f32x4.mul(quadExtreme(x, i, blocks - 1), f32x4.splat(-1.0 / 8.0));
    v128.store(inverses, inverseOrZero(scale));
    v128.store(biases, biasUnlessOverflow(8.5, scale));
    v128.store(halves, halfOf(scale));
    const end = min(i + 4, blocks);
    for (let b = i, lane: usize = 0; b < end; b++, lane += 4, out += SIZE) {
      const from = x + b * BLOCK;
      const inverse = v128.load32_splat(inverses + lane), bias = v128.load32_splat(biases + lane);
      store<u16>(out, load<u16>(halves + lane));
      v128.store(out + 2, joinNibbles(codes16(from, inverse, bias, 15), codes16(from + 64, inverse, bias, 15)));
    }
  }
}

/** One row under an importance matrix; returns where the next one starts. */
function encodeRow(x: usize, out: usize, cols: i32, weights: usize): usize {
  const sigma2 = sumOfSquares(x, cols) / <f32>cols;
  const blocks = <usize>cols >> 5;
  for (let i: usize = 0; i < blocks; i += 4) {
    searchSymmetric(x, i, blocks - 1, weights, sigma2, 8);
    v128.store(halves, halfOf(v128.load(fitScale)));
    const lanes = min(4, blocks - i);
    for (let lane: usize = 0; lane < lanes; lane++, out += SIZE) {
      store<u16>(out, load<u16>(halves + 4 * lane));
      v128.store(out + 2, joinNibbles(codesOfLane(lane, 0), codesOfLane(lane, 16)));
    }
  }
  return out;
}

export function decode_q4_0(blocks: usize, out: usize, n: i32): void {
  for (const end = out + (<usize>n << 2); out < end; blocks += SIZE, out += BLOCK) {
    const scale = loadHalfSplat(blocks), bytes = v128.load(blocks + 2), zero = i8x16.splat(8);
    storeScaled16(out, i8x16.sub(lowNibbles(bytes), zero), scale);
    storeScaled16(out + 64, i8x16.sub(highNibbles(bytes), zero), scale);
  }
}
