// Q2_K: scales[16] (scale | min << 4), codes[64], f16 d, f16 dmin. See ref/q2_k.ref.ts.
import { loadHalf, toHalf } from './half';
import { fitAffine } from './k_affine';
import {
  bendImportance, expandAffine, fitMin, fitScale, laneW, laneX, nearestInt, roundAffine, searchedAffine, sumOfSquares, toLanes,
} from './k_common';
import { crumbs, packCrumbs } from './k_crumbs';
import { fitPositive, minCodes, scaleCodes, units } from './k_positive';

const BYTES: usize = 84;

/** x: f32[rows, cols], weights: f32[cols] or 0. */
export function encode_q2_k(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  for (let row: i32 = 0; row < rows; row++) {
    for (let column: i32 = 0; column < cols; column += 256) {
      toLanes(x, laneX, 16);
      if (weights) {
        bendImportance(weights + (<usize>column << 2), sumOfSquares(x) / 256, 16);
        fitAffine(16, 3, -0.9, 0.05, 36, false);
        fitPositive(16, 15);
      } else {
        for (let i: usize = 0; i < 1024; i += 16) v128.store(laneW + i, f32x4.abs(v128.load(laneX + i)));
        fitAffine(16, 3, -0.5, 0.1, 15, true);
        store<f32>(units, levelByLargest(fitScale, scaleCodes), 0);
        store<f32>(units, levelByLargest(fitMin, minCodes), 4);
      }
      finish(x, out);
      x += 1024;
      out += BYTES;
    }
  }
}

function levelByLargest(values: usize, codes: usize): f32 {
  let largest: f32 = 0;
  for (let j: usize = 0; j < 64; j += 4) {
    const value = load<f32>(values + j);
    if (value > largest) largest = value;
  }
  const inverse: f32 = largest > 0 ? 15 / largest : 0;
  for (let j: usize = 0; j < 16; j++) store<u8>(codes + j, nearestInt(inverse * load<f32>(values + (j << 2))));
  return largest / 15;
}

function finish(x: usize, out: usize): void {
  store<u16>(out, toHalf(load<f32>(units, 0)), 80);
  store<u16>(out, toHalf(load<f32>(units, 4)), 82);
  const d = loadHalf(out + 80);
  const dmin = loadHalf(out + 82);
  for (let j: i32 = 0; j < 16; j++) {
    const level: u32 = (load<u8>(scaleCodes + <usize>j) | (<u32>load<u8>(minCodes + <usize>j) << 4)) & 255;
    store<u8>(out + <usize>j, level);
    const step: f32 = d * <f32>(level & 15);
    // A zero step keeps the codes of the search, as C's `continue` does.
    if (step == 0) searchedAffine(x, <usize>j << 4, 16, j, 3);
    else roundAffine(x, <usize>j << 4, 16, step, dmin * <f32>(level >> 4), 3);
  }
  packCrumbs(out + 16);
}

/** blocks -> out: f32[n]. */
export function decode_q2_k(blocks: usize, out: usize, n: i32): void {
  for (let b: i32 = 0; b < n; b += 256) {
    const d = loadHalf(blocks + 80);
    const dmin = loadHalf(blocks + 82);
    for (let j: i32 = 0; j < 16; j++) {
      const level = <u32>load<u8>(blocks + <usize>j);
      const step = f32x4.splat(d * <f32>(level & 15));
      expandAffine(crumbs(blocks + 16, j), step, f32x4.splat(dmin * <f32>(level >> 4)), out);
      out += 64;
    }
    blocks += BYTES;
  }
}
