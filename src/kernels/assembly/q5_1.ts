// Q5_1: f16 scale and minimum, 4 bytes of fifth bits, 16 bytes of nibbles; x = scale * code + minimum. See ref/q5_1.ref.ts.
import {
  BLOCK, biasUnlessOverflow, fiveBits, inverseOrZero, storeAffine16, storeFiveBits, sumOfSquares,
} from './blocks';
import { offsetCodes16, quadMin, quadStep } from './affine';
import { halfOf, loadHalfSplat } from './half';
import { fitMin, fitScale } from './k_common';
import { codesOfLane, searchAffine } from './weighted';

const SIZE: usize = 24;
// One lane a block, read back one at a time.
const minima: usize = memory.data(16, 16);
const inverses: usize = memory.data(16, 16);
const biases: usize = memory.data(16, 16);
const halfScales: usize = memory.data(32, 16);
const halfMinima: usize = memory.data(32, 16);

export function encode_q5_1(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  const blocks = (<usize>rows * <usize>cols) >> 5;
  if (weights) {
    for (const end = x + blocks * BLOCK; x < end; x += <usize>cols << 2) out = encodeRow(x, out, cols, weights);
    return;
  }
  for (let i: usize = 0; i < blocks; i += 4) {
    const minimum = quadMin(x, i, blocks - 1);
    const scale = quadStep(x, i, blocks - 1, minimum, 31);
    v128.store(minima, minimum);
    v128.store(inverses, inverseOrZero(scale));
    v128.store(biases, biasUnlessOverflow(0.5, scale));
    v128.store(halfScales, halfOf(scale));
    v128.store(halfMinima, halfOf(minimum));
    const end = min(i + 4, blocks);
    for (let b = i, lane: usize = 0; b < end; b++, lane += 4, out += SIZE) {
      const from = x + b * BLOCK, low = v128.load32_splat(minima + lane);
      const inverse = v128.load32_splat(inverses + lane), bias = v128.load32_splat(biases + lane);
      store<u16>(out, load<u16>(halfScales + lane));
      store<u16>(out, load<u16>(halfMinima + lane), 2);
      storeFiveBits(out + 4, offsetCodes16(from, low, inverse, bias, 31), offsetCodes16(from + 64, low, inverse, bias, 31));
    }
  }
}

/** One row under an importance matrix; returns where the next one starts. */
function encodeRow(x: usize, out: usize, cols: i32, weights: usize): usize {
  const sigma2 = sumOfSquares(x, cols) / <f32>cols;
  const blocks = <usize>cols >> 5;
  for (let i: usize = 0; i < blocks; i += 8) {
    searchAffine(x, i, blocks - 1, weights, sigma2, 31);
    for (let quad: usize = 0; quad < 32; quad += 16) {
      v128.store(halfScales + quad, halfOf(v128.load(fitScale + quad)));
      v128.store(halfMinima + quad, halfOf(f32x4.neg(v128.load(fitMin + quad))));
    }
    const lanes = min(8, blocks - i);
    for (let lane: usize = 0; lane < lanes; lane++, out += SIZE) {
      store<u16>(out, load<u16>(halfScales + 4 * lane));
      store<u16>(out, load<u16>(halfMinima + 4 * lane), 2);
      storeFiveBits(out + 4, codesOfLane(lane, 0), codesOfLane(lane, 16));
    }
  }
  return out;
}

export function decode_q5_1(blocks: usize, out: usize, n: i32): void {
  for (const end = out + (<usize>n << 2); out < end; blocks += SIZE, out += BLOCK) {
    const scale = loadHalfSplat(blocks), minimum = loadHalfSplat(blocks + 2);
    storeAffine16(out, fiveBits(blocks + 4, 0), scale, minimum);
    storeAffine16(out + 64, fiveBits(blocks + 4, 1), scale, minimum);
  }
}
