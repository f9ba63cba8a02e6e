// Q4_K and Q5_K up to packing, as in ref/k-affine.ref.ts: eight groups of 32, d * scale * code - dmin * min.
import { loadHalf, toHalf } from './half';
import {
  bendImportance, fitMin, fitScale, laneW, laneX, nearestInt, roundAffine, searchedAffine, sumOfSquares, toLanes,
} from './k_common';
import { fitPositive, minCodes, scaleCodes, units } from './k_positive';

/** Fills laneX and laneW; importance: f32[256] or 0. */
export function weighAffine32(x: usize, importance: usize): void {
  toLanes(x, laneX, 32);
  if (importance) {
    bendImportance(importance, <f32>2 * sumOfSquares(x) / 256, 32);
    return;
  }
  for (let quad: usize = 0; quad < 1024; quad += 512) {
    let sum = f32x4.splat(0);
    for (let i: usize = quad; i < quad + 512; i += 16) {
      const v = v128.load(laneX + i);
      sum = f32x4.add(sum, f32x4.mul(v, v));
    }
    const rms = f32x4.sqrt(f32x4.div(sum, f32x4.splat(32)));
    for (let i: usize = quad; i < quad + 512; i += 16) {
      v128.store(laneW + i, f32x4.add(rms, f32x4.abs(v128.load(laneX + i))));
    }
  }
}

/** From the fits to d, dmin and the scale bytes at out[0..16] and the codes; limit: see scaleLimit in the reference. */
export function finishAffine32(x: usize, out: usize, weighted: bool, top: i32, limit: i32): void {
  if (weighted) {
    fitPositive(8, 63);
  } else {
    store<f32>(units, levelByLargest(fitScale, scaleCodes), 0);
    store<f32>(units, levelByLargest(fitMin, minCodes), 4);
  }
  packLevels32(out, limit);
  const packed = out + 4;
  const d = loadHalf(out);
  const dmin = loadHalf(out + 2);
  for (let j: i32 = 0; j < 8; j++) {
    const step: f32 = d * <f32>groupScale(packed, j);
    // A zero step keeps the codes of the search, as C's `continue` does.
    if (step == 0) searchedAffine(x, <usize>j << 5, 32, j, top);
    else roundAffine(x, <usize>j << 5, 32, step, dmin * <f32>groupMin(packed, j), top);
  }
}

/** units, scaleCodes and minCodes, those at most `limit`, to out[0..16]. */
export function packLevels32(out: usize, limit: i32): void {
  store<u16>(out, toHalf(load<f32>(units, 0)), 0);
  store<u16>(out, toHalf(load<f32>(units, 4)), 2);
  const packed = out + 4;
  for (let j: usize = 0; j < 4; j++) {
    const scale = min(limit, <i32>load<u8>(scaleCodes + j));
    const minimum = min(limit, <i32>load<u8>(minCodes + j));
    const scale4 = min(limit, <i32>load<u8>(scaleCodes + j, 4));
    const minimum4 = min(limit, <i32>load<u8>(minCodes + j, 4));
    store<u8>(packed + j, scale | ((scale4 >> 4) << 6), 0);
    store<u8>(packed + j, minimum | ((minimum4 >> 4) << 6), 4);
    store<u8>(packed + j, (scale4 & 15) | ((minimum4 & 15) << 4), 8);
  }
}

function levelByLargest(values: usize, codes: usize): f32 {
  let largest: f32 = 0;
  for (let j: usize = 0; j < 32; j += 4) {
    const value = load<f32>(values + j);
    if (value > largest) largest = value;
  }
  const inverse: f32 = largest > 0 ? 63 / largest : 0;
  for (let j: usize = 0; j < 8; j++) {
    store<u8>(codes + j, min(63, nearestInt(inverse * load<f32>(values + (j << 2))) & 255));
  }
  return largest / 63;
}

/** Six bits; the upper two of the last four groups live in the first eight bytes. packed: u8[12]. */
@inline
export function groupScale(packed: usize, j: i32): u32 {
  const at = packed + <usize>j;
  return j < 4 ? load<u8>(at) & 63 : (load<u8>(at + 4) & 15) | ((load<u8>(at - 4) >> 6) << 4);
}

@inline
export function groupMin(packed: usize, j: i32): u32 {
  const at = packed + <usize>j;
  return j < 4 ? load<u8>(at + 4) & 63 : (load<u8>(at + 4) >> 4) | ((load<u8>(at) >> 6) << 4);
}
