// fitAffine of ref/k-common.ref.ts (make_qkx2_quants and make_qkx3_quants of ggml) for all groups of a super-block.
//
// Each try waits for the one before (a better try moves the minimum) and has two loops with a division between them. Four groups
// are the lanes of a quad; all quads take each step together, so that one quad's waiting is another one's work.
import { MAGIC, fitBase, fitInverse, fitMin, fitScale, laneW, laneX, nearestInt4 } from './k_common';

/** Where the search of a quad stands. */
@unmanaged
class Search {
  alive: v128; // lanes whose range is not empty
  low: v128; // of the values
  high: v128;
  sumW: v128;
  sumX: v128;
  // The best so far; codes = clamp(round(inverse * (x - base))).
  scale: v128;
  min: v128;
  error: v128;
  inverse: v128;
  base: v128;
  // The running try.
  tryInverse: v128;
  sumL: v128;
  sumL2: v128;
  sumXL: v128;
}

const searches: usize = memory.data(4 * 224, 16); // Search[quads]
const tried: usize = memory.data(1024, 16); // f32[quads][n][4]: codes of the running try

@inline
function searchOf(quad: usize): Search {
  return changetype<Search>(searches + quad * offsetof<Search>());
}

/**
 * Fits the groups of n in laneX with weights laneW: one plain range and steps + 1 stretched ones, the best by weighted error
 * squared (or absolute). Results go to fitScale, fitMin, fitInverse and fitBase.
 */
export function fitAffine(n: i32, top: f32, from: f32, step: f32, steps: i32, absolute: bool): void {
  const quads = <usize>(64 / n);
  const size = <usize>n << 4;
  for (let quad: usize = 0; quad < quads; quad++) start(searchOf(quad), quad * size, size, top, absolute);
  for (let s: i32 = 0; s <= steps; s++) {
    const stretched: f32 = from + step * <f32>s + top;
    for (let quad: usize = 0; quad < quads; quad++) tryRange(searchOf(quad), quad * size, size, stretched, top);
    for (let quad: usize = 0; quad < quads; quad++) keepIfBetter(searchOf(quad), quad * size, size, absolute);
  }
  for (let quad: usize = 0; quad < quads; quad++) {
    const search = searchOf(quad);
    const at = quad << 4;
    v128.store(fitScale + at, search.scale);
    v128.store(fitMin + at, f32x4.neg(search.min));
    v128.store(fitInverse + at, search.inverse);
    v128.store(fitBase + at, search.base);
  }
}

function start(search: Search, at: usize, size: usize, top: f32, absolute: bool): void {
  const zero = f32x4.splat(0);
  let low = v128.load(at, laneX);
  let high = low;
  let sumW = v128.load(at, laneW);
  let sumX = f32x4.mul(sumW, low);
  for (let i = at + 16; i < at + size; i += 16) {
    const x = v128.load(i, laneX);
    const w = v128.load(i, laneW);
    low = f32x4.pmin(low, x);
    high = f32x4.pmax(high, x);
    sumW = f32x4.add(sumW, w);
    sumX = f32x4.add(sumX, f32x4.mul(w, x));
  }
  const min = f32x4.pmin(low, zero);
  const alive = f32x4.gt(high, min);
  const inverse = v128.and(f32x4.div(f32x4.splat(top), f32x4.sub(high, min)), alive);
  const scale = v128.and(f32x4.div(f32x4.splat(1), inverse), alive);
  let error = zero;
  for (let i = at; i < at + size; i += 16) {
    const x = v128.load(i, laneX);
    const code = encode(f32x4.mul(inverse, f32x4.sub(x, min)), top);
    error = f32x4.add(error, f32x4.mul(v128.load(i, laneW), deviation(scale, code, min, x, absolute)));
  }
  search.alive = alive;
  search.low = low;
  search.high = high;
  search.sumW = sumW;
  search.sumX = sumX;
  search.scale = scale;
  search.min = min;
  search.error = error;
  search.inverse = inverse;
  search.base = min;
}

/** Codes of a stretched range, and their sums. */
function tryRange(search: Search, at: usize, size: usize, stretched: f32, top: f32): void {
  const range = f32x4.sub(search.high, search.min);
  const inverse = v128.and(f32x4.div(f32x4.splat(stretched), range), search.alive);
  search.tryInverse = inverse;
  // The product is monotone in x, so its values at the ends of the group bound it; a NaN there is out of range.
  const limit = f32x4.splat(4194303);
  const atHigh = f32x4.lt(f32x4.abs(f32x4.mul(inverse, range)), limit);
  const atLow = f32x4.lt(f32x4.abs(f32x4.mul(inverse, f32x4.sub(search.low, search.min))), limit);
  if (i32x4.all_true(v128.and(atHigh, atLow))) sumsBelowLimit(search, at, size, top);
  else sums(search, at, size, top);
}

function sums(search: Search, at: usize, size: usize, top: f32): void {
  const inverse = search.tryInverse;
  const min = search.min;
  let sumL = f32x4.splat(0);
  let sumL2 = sumL;
  let sumXL = sumL;
  for (let i = at; i < at + size; i += 16) {
    const x = v128.load(i, laneX);
    const code = encode(f32x4.mul(inverse, f32x4.sub(x, min)), top);
    v128.store(i, code, tried);
    const wl = f32x4.mul(v128.load(i, laneW), code);
    sumL = f32x4.add(sumL, wl);
    sumL2 = f32x4.add(sumL2, f32x4.mul(wl, code));
    sumXL = f32x4.add(sumXL, f32x4.mul(wl, x));
  }
  search.sumL = sumL;
  search.sumL2 = sumL2;
  search.sumXL = sumXL;
}

/**
 * The same where no product reaches 2^22, with fewer instructions: instead of the code it clamps the float that carries the code
 * in its low bits (floats of one sign order as their bits do).
 */
function sumsBelowLimit(search: Search, at: usize, size: usize, top: f32): void {
  const inverse = search.tryInverse;
  const min = search.min;
  const magic = f32x4.splat(MAGIC);
  const ceiling = f32x4.splat(MAGIC + top);
  let sumL = f32x4.splat(0);
  let sumL2 = sumL;
  let sumXL = sumL;
  for (let i = at; i < at + size; i += 16) {
    const x = v128.load(i, laneX);
    const carried = f32x4.add(f32x4.mul(inverse, f32x4.sub(x, min)), magic);
    const code = f32x4.sub(i32x4.min_s(i32x4.max_s(carried, magic), ceiling), magic);
    v128.store(i, code, tried);
    const wl = f32x4.mul(v128.load(i, laneW), code);
    sumL = f32x4.add(sumL, wl);
    sumL2 = f32x4.add(sumL2, f32x4.mul(wl, code));
    sumXL = f32x4.add(sumXL, f32x4.mul(wl, x));
  }
  search.sumL = sumL;
  search.sumL2 = sumL2;
  search.sumXL = sumXL;
}

/** Least squares for the codes tried, its error, and the better of this and the best. */
function keepIfBetter(search: Search, at: usize, size: usize, absolute: bool): void {
  const zero = f32x4.splat(0);
  const sumW = search.sumW;
  const sumX = search.sumX;
  const sumL = search.sumL;
  const sumL2 = search.sumL2;
  const sumXL = search.sumXL;
  const determinant = f32x4.sub(f32x4.mul(sumW, sumL2), f32x4.mul(sumL, sumL));
  const solvable = v128.and(f32x4.gt(determinant, zero), search.alive);
  let scale = f32x4.div(f32x4.sub(f32x4.mul(sumW, sumXL), f32x4.mul(sumX, sumL)), determinant);
  let min = f32x4.div(f32x4.sub(f32x4.mul(sumL2, sumX), f32x4.mul(sumL, sumXL)), determinant);
  const positive = f32x4.gt(min, zero);
  min = v128.andnot(min, positive);
  scale = v128.bitselect(f32x4.div(sumXL, sumL2), scale, positive);
  const error = absolute ? errorOf(at, size, scale, min, true) : errorOf(at, size, scale, min, false);
  const better = v128.and(f32x4.lt(error, search.error), solvable);
  search.base = v128.bitselect(search.min, search.base, better);
  search.inverse = v128.bitselect(search.tryInverse, search.inverse, better);
  search.scale = v128.bitselect(scale, search.scale, better);
  search.min = v128.bitselect(min, search.min, better);
  search.error = v128.bitselect(error, search.error, better);
}

@inline
function errorOf(at: usize, size: usize, scale: v128, min: v128, absolute: bool): v128 {
  let error = f32x4.splat(0);
  for (let i = at; i < at + size; i += 16) {
    const off = deviation(scale, v128.load(i, tried), min, v128.load(i, laneX), absolute);
    error = f32x4.add(error, f32x4.mul(v128.load(i, laneW), off));
  }
  return error;
}

/** clamp(round(x), 0, top) as floats, for every x. */
@inline
function encode(x: v128, top: f32): v128 {
  return f32x4.convert_i32x4_s(i32x4.min_s(i32x4.max_s(nearestInt4(x), i32x4.splat(0)), i32x4.splat(<i32>top)));
}

/** |scale * code + min - x|, or its square. */
@inline
function deviation(scale: v128, code: v128, min: v128, x: v128, absolute: bool): v128 {
  const difference = f32x4.sub(f32x4.add(f32x4.mul(scale, code), min), x);
  return absolute ? f32x4.abs(difference) : f32x4.mul(difference, difference);
}
