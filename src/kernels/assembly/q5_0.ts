// Q5_0: f16 scale, 4 bytes of fifth bits, 16 bytes of nibbles; x = scale * (code - 16). See ref/q5_0.ref.ts.
import {
  BLOCK, biasUnlessOverflow, fiveBits, inverseOrZero, storeFiveBits, storeScaled16, sumOfSquares,
} from './blocks';
import { halfOf, loadHalfSplat } from './half';
import { fitScale } from './k_common';
import { codes16, quadExtreme } from './symmetric';
import { codesOfLane, searchSymmetric } from './weighted';

const SIZE: usize = 22;
// f32x4 of four blocks, read back one lane at a time.
const inverses: usize = memory.data(16, 16);
const biases: usize = memory.data(16, 16);
const halves: usize = memory.data(16, 16);

export function encode_q5_0(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  const blocks = (<usize>rows * <usize>cols) >> 5;
  if (weights) {
    for (const end = x + blocks * BLOCK; x < end; x += <usize>cols << 2) out = encodeRow(x, out, cols, weights);
    return;
  }
  for (let i: usize = 0; i < blocks; i += 4) {
    const scale = f32x4.mul(quadExtreme(x, i, blocks - 1), f32x4.splat(-1.0 / 16.0));
    v128.store(inverses, inverseOrZero(scale));
    v128.store(biases, biasUnlessOverflow(16.5, scale));
    v128.store(halves, halfOf(scale));
    const end = min(i + 4, blocks);
    for (let b = i, lane: usize = 0; b < end; b++, lane += 4, out += SIZE) {
      const from = x + b * BLOCK;
      const inverse = v128.load32_splat(inverses + lane), bias = v128.load32_splat(biases + lane);
      store<u16>(out, load<u16>(halves + lane));
      storeFiveBits(out + 2, codes16(from, inverse, bias, 31), codes16(from + 64, inverse, bias, 31));
    }
  }
}

/** One row under an importance matrix; returns where the next one starts. */
function encodeRow(x: usize, out: usize, cols: i32, weights: usize): usize {
  const sigma2 = sumOfSquares(x, cols) / <f32>cols;
  const blocks = <usize>cols >> 5;
  for (let i: usize = 0; i < blocks; i += 4) {
    searchSymmetric(x, i, blocks - 1, weights, sigma2, 16);
    v128.store(halves, halfOf(v128.load(fitScale)));
    const lanes = min(4, blocks - i);
    for (let lane: usize = 0; lane < lanes; lane++, out += SIZE) {
      store<u16>(out, load<u16>(halves + 4 * lane));
      storeFiveBits(out + 2, codesOfLane(lane, 0), codesOfLane(lane, 16));
    }
  }
  return out;
}

export function decode_q5_0(blocks: usize, out: usize, n: i32): void {
  for (const end = out + (<usize>n << 2); out < end; blocks += SIZE, out += BLOCK) {
    const scale = loadHalfSplat(blocks), zero = i8x16.splat(16);
    storeScaled16(out, i8x16.sub(fiveBits(blocks + 2, 0), zero), scale);
    storeScaled16(out + 64, i8x16.sub(fiveBits(blocks + 2, 1), zero), scale);
  }
}
