// Blocks whose groups have scales and minima. See ref/search/affine-block.ref.ts.
import { storableHalf } from './half';
import { laneW, laneX } from './k_common';
import { codeSums, fitAffine, fitMins, fitScales, squareSums, valueSums, weightSums } from './search_affine';
import { finite4, nearestWhole, reciprocal4 } from './search_grid';
import { fitUnit } from './search_units';

/** What was found: f32[groups]; units of a super-block in the first lane, in a quad of single blocks scale and minimum of each. */
export const affineLevels: usize = memory.data(64, 16);
export const affineMins: usize = memory.data(64, 16);
export const affineUnits: usize = memory.data(16, 16);
export const affineMinUnits: usize = memory.data(16, 16);

/** What offsetSums gave. */
const offsetError: usize = memory.data(16, 16);
const offsetL: usize = memory.data(16, 16);
const offsetL2: usize = memory.data(16, 16);
const offsetLX: usize = memory.data(16, 16);

const levels: usize = memory.data(64, 16); // f32[groups]
const mins: usize = memory.data(64, 16);
const wishedMins: usize = memory.data(64, 16);
const curvature: usize = memory.data(64, 16);
// Of a quad of groups, under the levels that it takes.
const errors: usize = memory.data(16, 16);
const ls: usize = memory.data(16, 16);
const l2s: usize = memory.data(16, 16);
const lxs: usize = memory.data(16, 16);

/** The super-block in laneX and laneW, groups of n. */
export function searchAffineBlock(
  n: usize, top: f32, from: f32, step: f32, cutFrom: f32, cutStep: f32, cut: f32, highest: f32, unitFrom: f32, unitStep: f32,
): void {
  const size = n << 4, groups = <usize>256 / n, end = groups << 2;
  const zero = f32x4.splat(0), most = f32x4.splat(highest);
  for (let g: usize = 0, at: usize = 0; g < end; g += 16, at += size) {
    fitAffine(laneX + at, laneW + at, size, top, from, step, cutFrom, cutStep, cut, true, g);
    const l = v128.load(codeSums + g);
    const shared = finite4(f32x4.div(f32x4.mul(l, l), v128.load(weightSums + g)));
    v128.store(curvature + g, f32x4.sub(v128.load(squareSums + g), shared));
  }
  let unit = fitUnit(fitScales, curvature, groups, 0, highest, unitFrom, unitStep, 32);
  const inverse = reciprocal4(f32x4.splat(unit));
  for (let g: usize = 0; g < end; g += 16) {
    const level = nearestWhole(f32x4.mul(v128.load(fitScales + g), inverse), zero, most);
    v128.store(levels + g, level);
    v128.store(wishedMins + g, wishedMin(g, f32x4.mul(f32x4.splat(unit), level), v128.load(codeSums + g)));
  }
  let minUnit = fitUnit(wishedMins, weightSums, groups, 0, highest, unitFrom, unitStep, 32);
  const inverseMin = reciprocal4(f32x4.splat(minUnit));
  for (let g: usize = 0; g < end; g += 16) {
    v128.store(mins + g, nearestWhole(f32x4.mul(v128.load(wishedMins + g), inverseMin), zero, most));
  }
  keep(unit, minUnit);

  let least: f64 = Infinity;
  for (let round = 0; round < 2; round++) {
    let error: f64 = 0, aa: f64 = 0, am: f64 = 0, mm: f64 = 0, ax: f64 = 0, mx: f64 = 0;
    for (let g: usize = 0, at: usize = 0; g < end; g += 16, at += size) {
      tryLevels(at, size, top, f32x4.splat(unit), f32x4.splat(minUnit), g, most);
      for (let lane: usize = 0; lane < 16; lane += 4) {
        const a = <f64>load<f32>(levels + g + lane), m = <f64>load<f32>(mins + g + lane);
        error += <f64>load<f32>(errors + lane);
        aa += a * a * <f64>load<f32>(l2s + lane);
        am += a * m * <f64>load<f32>(ls + lane);
        mm += m * m * <f64>load<f32>(weightSums + g + lane);
        ax += a * <f64>load<f32>(lxs + lane);
        mx += m * <f64>load<f32>(valueSums + g + lane);
      }
    }
    if (error < least) {
      least = error;
      keep(unit, minUnit);
    }
    const determinant = aa * mm - am * am;
    const both = determinant > 0;
    unit = storableHalf(both ? (ax * mm - mx * am) / determinant : ax / aa);
    if (both) minUnit = storableHalf((ax * am - mx * aa) / determinant);
  }
}

function keep(unit: f32, minUnit: f32): void {
  memory.copy(affineLevels, levels, 64);
  memory.copy(affineMins, mins, 64);
  store<f32>(affineUnits, unit);
  store<f32>(affineMinUnits, minUnit);
}

/** The minima that codes with the sums l wish for under steps. */
@inline
function wishedMin(g: usize, step: v128, l: v128): v128 {
  const wish = finite4(f32x4.div(f32x4.sub(f32x4.mul(step, l), v128.load(valueSums + g)), v128.load(weightSums + g)));
  return f32x4.pmax(wish, f32x4.splat(0));
}

/** The level of four groups and those beside it, each with the minima around the one wished for; the best go to levels and mins. */
function tryLevels(at: usize, size: usize, top: f32, unit: v128, minUnit: v128, g: usize, most: v128): void {
  const x = laneX + at, w = laneW + at, zero = f32x4.splat(0), inverse = reciprocal4(minUnit);
  const own = v128.load(levels + g);
  let level = own, min = v128.load(mins + g);
  offsetSums(x, w, size, top, f32x4.mul(unit, level), f32x4.mul(minUnit, min));
  const first = v128.load(offsetL);
  let error = v128.load(offsetError), l = first, l2 = v128.load(offsetL2), lx = v128.load(offsetLX);
  for (let move: f32 = -1; move <= 1; move++) {
    const tried = f32x4.add(own, f32x4.splat(move)), step = f32x4.mul(unit, tried);
    const allowed = v128.and(f32x4.ge(tried, zero), f32x4.le(tried, most));
    const wish = f32x4.floor(f32x4.mul(wishedMin(g, step, first), inverse));
    for (let more: f32 = 0; more <= 1; more++) {
      const triedMin = nearestWhole(f32x4.add(wish, f32x4.splat(more)), zero, most);
      offsetSums(x, w, size, top, step, f32x4.mul(minUnit, triedMin));
      const thisError = v128.load(offsetError);
      const better = v128.and(allowed, f32x4.lt(thisError, error));
      level = v128.bitselect(tried, level, better);
      min = v128.bitselect(triedMin, min, better);
      error = v128.bitselect(thisError, error, better);
      l = v128.bitselect(v128.load(offsetL), l, better);
      l2 = v128.bitselect(v128.load(offsetL2), l2, better);
      lx = v128.bitselect(v128.load(offsetLX), lx, better);
    }
  }
  v128.store(levels + g, level);
  v128.store(mins + g, min);
  v128.store(errors, error);
  v128.store(ls, l);
  v128.store(l2s, l2);
  v128.store(lxs, lx);
}

/** Four single blocks of 32 in laneX and laneW: scale and minimum of each as f16 stores them. */
export function searchPairs(top: f32, from: f32, step: f32, cutFrom: f32, cutStep: f32, cut: f32): void {
  fitAffine(laneX, laneW, 512, top, from, step, cutFrom, cutStep, cut, false, 0);
  for (let lane: usize = 0; lane < 16; lane += 4) {
    store<f32>(affineUnits + lane, storableHalf(<f64>load<f32>(fitScales + lane)));
    store<f32>(affineMinUnits + lane, storableHalf(<f64>load<f32>(fitMins + lane)));
  }
}

/** The nearest codes under stored steps and offsets: offsetError, offsetL, offsetL2, offsetLX. */
function offsetSums(x: usize, w: usize, size: usize, top: f32, step: v128, offset: v128): void {
  const inverse = reciprocal4(step), zero = f32x4.splat(0), ceiling = f32x4.splat(top);
  let error = zero, l = zero, l2 = zero, lx = zero;
  for (let i: usize = 0; i < size; i += 16) {
    const v = v128.load(x + i), weight = v128.load(w + i);
    const code = nearestWhole(f32x4.mul(f32x4.add(v, offset), inverse), zero, ceiling);
    const weighted = f32x4.mul(weight, code);
    const difference = f32x4.sub(f32x4.sub(f32x4.mul(step, code), offset), v);
    l = f32x4.add(l, weighted);
    l2 = f32x4.add(l2, f32x4.mul(weighted, code));
    lx = f32x4.add(lx, f32x4.mul(weighted, v));
    error = f32x4.add(error, f32x4.mul(f32x4.mul(weight, difference), difference));
  }
  v128.store(offsetError, error);
  v128.store(offsetL, l);
  v128.store(offsetL2, l2);
  v128.store(offsetLX, lx);
}
