// fitAffine of ref/k-common.ref.ts (make_qkx2_quants and make_qkx3_quants of ggml), four groups at once.
import { MAGIC, fitBase, fitInverse, fitMin, fitScale, laneW, laneX, nearestInt4 } from './k_common';

const tried: usize = memory.data(32 * 16, 16); // f32[n][4]: codes of the running try

/**
 * Fits the four groups of lanes at laneX + quad * n * 16: steps + 2 ranges, the best by weighted error.
 * Results go to fitScale, fitMin, fitInverse and fitBase, four floats from quad * 16.
 */
export function fitAffine(quad: i32, n: i32, top: f32, from: f32, step: f32, steps: i32, absolute: bool): void {
  if (!search(quad, n, top, from, step, steps, absolute, false)) search(quad, n, top, from, step, steps, absolute, true);
}

/**
 * The rounding of `exact` holds for every input. The other one clamps the float that carries the code in its low bits (floats
 * of one sign order as their bits do), which saves instructions and is the same as long as no product reaches 2^22; it gives up
 * (false) when one could.
 */
@inline
function search(quad: i32, n: i32, top: f32, from: f32, step: f32, steps: i32, absolute: bool, exact: bool): bool {
  const end = <usize>n << 4;
  const x = laneX + <usize>quad * end;
  const w = laneW + <usize>quad * end;
  const zero = f32x4.splat(0);

  let low = v128.load(x);
  let high = low;
  let sumW = v128.load(w);
  let sumX = f32x4.mul(sumW, low);
  for (let i: usize = 16; i < end; i += 16) {
    const v = v128.load(x + i);
    const weight = v128.load(w + i);
    low = f32x4.pmin(low, v);
    high = f32x4.pmax(high, v);
    sumW = f32x4.add(sumW, weight);
    sumX = f32x4.add(sumX, f32x4.mul(weight, v));
  }
  let min = f32x4.pmin(low, zero);
  const alive = f32x4.gt(high, min);

  let inverse = v128.and(f32x4.div(f32x4.splat(top), f32x4.sub(high, min)), alive);
  if (!exact && !inRange(inverse, low, high, min)) return false;
  let scale = v128.and(f32x4.div(f32x4.splat(1), inverse), alive);
  let base = min;
  let best = zero;
  for (let i: usize = 0; i < end; i += 16) {
    const v = v128.load(x + i);
    const code = encode(f32x4.mul(inverse, f32x4.sub(v, min)), top, exact);
    const error = f32x4.sub(f32x4.add(f32x4.mul(scale, code), min), v);
    best = f32x4.add(best, f32x4.mul(v128.load(w + i), absolute ? f32x4.abs(error) : f32x4.mul(error, error)));
  }

  for (let s: i32 = 0; s <= steps; s++) {
    const stretched: f32 = from + step * <f32>s + top;
    const thisInverse = v128.and(f32x4.div(f32x4.splat(stretched), f32x4.sub(high, min)), alive);
    if (!exact && !inRange(thisInverse, low, high, min)) return false;
    let sumL = zero;
    let sumL2 = zero;
    let sumXL = zero;
    for (let i: usize = 0; i < end; i += 16) {
      const v = v128.load(x + i);
      const code = encode(f32x4.mul(thisInverse, f32x4.sub(v, min)), top, exact);
      v128.store(tried + i, code);
      const wl = f32x4.mul(v128.load(w + i), code);
      sumL = f32x4.add(sumL, wl);
      sumL2 = f32x4.add(sumL2, f32x4.mul(wl, code));
      sumXL = f32x4.add(sumXL, f32x4.mul(wl, v));
    }
    const determinant = f32x4.sub(f32x4.mul(sumW, sumL2), f32x4.mul(sumL, sumL));
    const solvable = v128.and(f32x4.gt(determinant, zero), alive);
    if (!v128.any_true(solvable)) continue;
    let thisScale = f32x4.div(f32x4.sub(f32x4.mul(sumW, sumXL), f32x4.mul(sumX, sumL)), determinant);
    let thisMin = f32x4.div(f32x4.sub(f32x4.mul(sumL2, sumX), f32x4.mul(sumL, sumXL)), determinant);
    const positive = f32x4.gt(thisMin, zero);
    thisMin = v128.andnot(thisMin, positive);
    thisScale = v128.bitselect(f32x4.div(sumXL, sumL2), thisScale, positive);
    let sumError = zero;
    for (let i: usize = 0; i < end; i += 16) {
      const fitted = f32x4.add(f32x4.mul(thisScale, v128.load(tried + i)), thisMin);
      const error = f32x4.sub(fitted, v128.load(x + i));
      sumError = f32x4.add(sumError, f32x4.mul(v128.load(w + i), absolute ? f32x4.abs(error) : f32x4.mul(error, error)));
    }
    const better = v128.and(f32x4.lt(sumError, best), solvable);
    best = v128.bitselect(sumError, best, better);
    scale = v128.bitselect(thisScale, scale, better);
    inverse = v128.bitselect(thisInverse, inverse, better);
    base = v128.bitselect(min, base, better);
    min = v128.bitselect(thisMin, min, better);
  }
  const at = <usize>quad << 4;
  v128.store(fitScale + at, scale);
  v128.store(fitMin + at, f32x4.neg(min));
  v128.store(fitInverse + at, inverse);
  v128.store(fitBase + at, base);
  return true;
}

/** clamp(round(x), 0, top) as floats. */
@inline
function encode(x: v128, top: f32, exact: bool): v128 {
  if (exact) {
    const code = i32x4.min_s(i32x4.max_s(nearestInt4(x), i32x4.splat(0)), i32x4.splat(<i32>top));
    return f32x4.convert_i32x4_s(code);
  }
  const magic = f32x4.splat(MAGIC);
  const carried = i32x4.min_s(i32x4.max_s(f32x4.add(x, magic), magic), f32x4.splat(MAGIC + top));
  return f32x4.sub(carried, magic);
}

/** inverse * (x - min) is monotone in x, so its values at the ends of the group bound it; a NaN there is out of range. */
@inline
function inRange(inverse: v128, low: v128, high: v128, min: v128): bool {
  const limit = f32x4.splat(4194303);
  const atHigh = f32x4.abs(f32x4.mul(inverse, f32x4.sub(high, min)));
  const atLow = f32x4.abs(f32x4.mul(inverse, f32x4.sub(low, min)));
  return i32x4.all_true(v128.and(f32x4.lt(atHigh, limit), f32x4.lt(atLow, limit)));
}
