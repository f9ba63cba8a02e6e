// Blocks whose groups have scales only. See ref/search/scaled-block.ref.ts.
import { storableHalf } from './half';
import { laneW, laneX } from './k_common';
import { nearestInBook, nearestWhole, reciprocal4 } from './search_grid';
import { fitScale, scaleInto, sumL2, sumLX, values } from './search_scale';
import { fitUnit } from './search_units';

/** What was found: f32[groups] and its unit; in a quad of single blocks the unit of each. */
export const foundLevels: usize = memory.data(64, 16);
export const foundUnits: usize = memory.data(16, 16);

const sumError: usize = memory.data(16, 16);
const levels: usize = memory.data(64, 16); // f32[groups]
const wished: usize = memory.data(64, 16);
const curvature: usize = memory.data(64, 16);
const errors: usize = memory.data(16, 16);
const lxs: usize = memory.data(16, 16);
const l2s: usize = memory.data(16, 16);

/** The super-block in laneX and laneW, groups of n. */
export function searchScaled(
  n: usize, low: f32, high: f32, from: f32, step: f32, count: i32, mirrored: bool,
  lowest: f32, highest: f32, unitFrom: f32, unitStep: f32,
): void {
  const size = n << 4, groups = <usize>256 / n;
  for (let g: usize = 0, at: usize = 0; g < groups << 2; g += 16, at += size) {
    fitScale(laneX + at, laneW + at, size, low, high, from, step, count, mirrored, wished + g, curvature + g);
  }
  let unit = fitUnit(wished, curvature, groups, lowest, highest, unitFrom, unitStep, 32);
  const inverse = reciprocal4(f32x4.splat(unit)), least4 = f32x4.splat(lowest), most4 = f32x4.splat(highest);
  for (let g: usize = 0; g < groups << 2; g += 16) {
    v128.store(levels + g, nearestWhole(f32x4.mul(v128.load(wished + g), inverse), least4, most4));
  }
  memory.copy(foundLevels, levels, 64);
  store<f32>(foundUnits, unit);

  let least: f64 = Infinity;
  for (let round = 0; round < 2; round++) {
    let error: f64 = 0, product: f64 = 0, square: f64 = 0;
    for (let g: usize = 0, at: usize = 0; g < groups << 2; g += 16, at += size) {
      tryLevels(at, size, low, high, unit, levels + g, least4, most4);
      for (let lane: usize = 0; lane < 16; lane += 4) {
        const level = <f64>load<f32>(levels + g + lane);
        error += <f64>load<f32>(errors + lane);
        product += level * <f64>load<f32>(lxs + lane);
        square += level * level * <f64>load<f32>(l2s + lane);
      }
    }
    if (error < least) {
      least = error;
      memory.copy(foundLevels, levels, 64);
      store<f32>(foundUnits, unit);
    }
    unit = storableHalf(product / square);
  }
}

/** Moves the levels of four groups by one where that helps. */
@inline
function tryLevels(at: usize, size: usize, low: f32, high: f32, unit: f32, levels: usize, least: v128, most: v128): void {
  const own = v128.load(levels);
  let level = own, error = f32x4.splat(0), lx = error, l2 = error;
  for (let move: f32 = 0; move < 3; move++) {
    // The own level, that below, that above.
    const tried = f32x4.add(own, f32x4.splat(move == 2 ? 1 : -move));
    stepSums(laneX + at, laneW + at, size, low, high, f32x4.mul(f32x4.splat(unit), tried));
    const thisError = v128.load(sumError);
    const allowed = v128.and(f32x4.ge(tried, least), f32x4.le(tried, most));
    const better = move == 0 ? i32x4.splat(-1) : v128.and(allowed, f32x4.lt(thisError, error));
    level = v128.bitselect(tried, level, better);
    error = v128.bitselect(thisError, error, better);
    lx = v128.bitselect(v128.load(sumLX), lx, better);
    l2 = v128.bitselect(v128.load(sumL2), l2, better);
  }
  v128.store(levels, level);
  v128.store(errors, error);
  v128.store(lxs, lx);
  v128.store(l2s, l2);
}

/** Four single blocks of 32 in laneX and laneW: the scale of each as f16 stores it. */
export function searchScales(low: f32, high: f32, from: f32, step: f32, count: i32, mirrored: bool): void {
  fitScale(laneX, laneW, 512, low, high, from, step, count, mirrored, foundUnits, curvature);
  for (let at = foundUnits; at < foundUnits + 16; at += 4) store<f32>(at, storableHalf(<f64>load<f32>(at)));
}

/** The nearest codes under steps as they are stored: sumError, sumLX, sumL2. */
function stepSums(x: usize, w: usize, size: usize, low: f32, high: f32, step: v128): void {
  const inverse = reciprocal4(step), lows = f32x4.splat(low), highs = f32x4.splat(high);
  let error = f32x4.splat(0), lx = error, l2 = error;
  for (let i: usize = 0; i < size; i += 64) {
    scaleInto(values, x + i, inverse);
    if (low == 0) nearestInBook(values);
    for (let j: usize = 0; j < 64; j += 16) {
      const v = v128.load(x + i + j), weight = v128.load(w + i + j);
      const value = low == 0 ? v128.load(values + j) : nearestWhole(v128.load(values + j), lows, highs);
      const weighted = f32x4.mul(weight, value), difference = f32x4.sub(f32x4.mul(step, value), v);
      lx = f32x4.add(lx, f32x4.mul(weighted, v));
      l2 = f32x4.add(l2, f32x4.mul(weighted, value));
      error = f32x4.add(error, f32x4.mul(f32x4.mul(weight, difference), difference));
    }
  }
  v128.store(sumError, error);
  v128.store(sumLX, lx);
  v128.store(sumL2, l2);
}
