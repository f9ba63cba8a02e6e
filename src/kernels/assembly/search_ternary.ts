// The search for a scale with the values -1, 0 and 1: four starting scales at once, one a lane. See ref/search/ternary.ref.ts.
import { absMax16 } from './e2m1';
import { storableHalf } from './half';
import { q2_0Block, decode_q2_0, encode_q2_0 } from './q2_0';
import { finite4 } from './search_grid';
import { keepBetter, ones, trial } from './search_keep';
import { tritsOver } from './ternary';
import { decode_tq1_0, encode_tq1_0, tq1_0Block } from './tq1_0';
import { decode_tq2_0, encode_tq2_0, tq2_0Block } from './tq2_0';

const PLACES: i32 = 20;
const products: usize = memory.data(16, 16); // f32[4]
const weightSums: usize = memory.data(16, 16);

/** x, w: f32[n] */
function ternaryScale(x: usize, w: usize, n: usize): f32 {
  let largest: f32 = 0;
  for (let j: usize = 0; j < n << 2; j += 64) largest = max(largest, absMax16(x + j));
  let scale: f32 = 0, best: f32 = 0;
  for (let i = 0; i < PLACES; i += 4) {
    const place = f32x4.add(f32x4.splat(1 + <f32>0.5 * <f32>i), f32x4(0, 0.5, 1, 1.5));
    sumLargest(x, w, n, finite4(f32x4.div(place, f32x4.splat(largest))));
    for (let lane: usize = 0; lane < 16; lane += 4) {
      const lx = load<f32>(products + lane), l2 = load<f32>(weightSums + lane);
      if (!(l2 > 0 && lx * lx > best * l2)) continue;
      scale = lx / l2;
      best = scale * lx;
    }
  }
  return storableHalf(scale);
}

/** sum w |x| and sum w of what is nearer to 1 than to 0 under four inverse scales. */
function sumLargest(x: usize, w: usize, n: usize, inverse: v128): void {
  let lx = f32x4.splat(0), l2 = lx;
  for (let j: usize = 0; j < n << 2; j += 4) {
    const magnitude = f32x4.abs(v128.load32_splat(x + j)), weight = v128.load32_splat(w + j);
    const taken = f32x4.gt(f32x4.mul(magnitude, inverse), f32x4.splat(0.5));
    lx = f32x4.add(lx, v128.and(taken, f32x4.mul(weight, magnitude)));
    l2 = f32x4.add(l2, v128.and(taken, weight));
  }
  v128.store(products, lx);
  v128.store(weightSums, l2);
}

/** Blocks of n values, `bytes` each. */
function everyBlock(
  x: usize, out: usize, rows: i32, cols: i32, weights: usize, n: usize, bytes: i32,
  pack: (scale: f32, out: usize) => void, decode: (blocks: usize, out: usize, n: i32) => void,
): void {
  const row = <usize>cols << 2, step = n << 2;
  for (let r: i32 = 0; r < rows; r++, x += row) {
    for (let at: usize = 0; at < row; at += step, out += bytes) {
      const w = weights ? weights + at : ones;
      const scale = ternaryScale(x + at, w, n);
      tritsOver(x + at, n, scale);
      pack(scale, trial);
      keepBetter(x + at, w, out, <i32>n, bytes, decode);
    }
  }
}

export function search_tq1_0(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  encode_tq1_0(x, out, rows, cols, weights);
  everyBlock(x, out, rows, cols, weights, 256, 54, tq1_0Block, decode_tq1_0);
}

export function search_tq2_0(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  encode_tq2_0(x, out, rows, cols, weights);
  everyBlock(x, out, rows, cols, weights, 256, 66, tq2_0Block, decode_tq2_0);
}

export function search_q2_0(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  encode_q2_0(x, out, rows, cols, weights);
  everyBlock(x, out, rows, cols, weights, 64, 18, q2_0Block, decode_q2_0);
}
