// All levels of a row fitted to its codes. See quantize/rounding/refit.ref.ts: its operations in its order.
import { fit_unit } from './fit_units';
import { roundedTo, storableHalf } from './half';
import { addScaledRows, descendLevels } from './stored_levels';

const ENOUGH: f64 = 1e-4;
const SINGULAR: f64 = 1e-5;

/** y: f32[n] += f * x: f32[n] */
function addOne(y: usize, x: usize, f: f32, n: i32): void {
  const factor = f32x4.splat(f);
  let j: i32 = 0;
  for (; j + 8 <= n; j += 8, y += 32, x += 32) {
    v128.store(y, f32x4.add(v128.load(y), f32x4.mul(factor, v128.load(x))));
    v128.store(y, f32x4.add(v128.load(y, 16), f32x4.mul(factor, v128.load(x, 16))), 16);
  }
  for (; j < n; j++, y += 4, x += 4) store<f32>(y, load<f32>(y) + f * load<f32>(x));
}

/** y: f32[n] += f * x: f32[n], then g * z: f32[n] */
function addTwo(y: usize, x: usize, f: f32, z: usize, g: f32, n: i32): void {
  const first = f32x4.splat(f), second = f32x4.splat(g);
  let j: i32 = 0;
  for (; j + 8 <= n; j += 8, y += 32, x += 32, z += 32) {
    let a = f32x4.add(v128.load(y), f32x4.mul(first, v128.load(x)));
    let b = f32x4.add(v128.load(y, 16), f32x4.mul(first, v128.load(x, 16)));
    a = f32x4.add(a, f32x4.mul(second, v128.load(z)));
    b = f32x4.add(b, f32x4.mul(second, v128.load(z, 16)));
    v128.store(y, a);
    v128.store(y, b, 16);
  }
  for (; j < n; j++, y += 4, x += 4, z += 4) {
    const sum: f32 = load<f32>(y) + f * load<f32>(x);
    store<f32>(y, sum + g * load<f32>(z));
  }
}

/** levels: f64[size], slope: f32[size], matrix: f32[size, size] */
function relax(matrix: usize, slope: usize, levels: usize, groups: i32, size: i32, bound: f64, sweeps: i32): void {
  const width = <usize>size << 2;
  let total: f64 = 0;
  for (let sweep = 0; sweep < sweeps; sweep++) {
    let gain: f64 = 0;
    for (let g = 0; g < groups; g++) {
      const row = matrix + <usize>g * width;
      const scale = levels + (<usize>g << 3);
      const ss = <f64>load<f32>(row + (<usize>g << 2));
      const a = <f64>load<f32>(slope + (<usize>g << 2));
      if (size == groups) {
        const ds = ss > 0 ? -a / ss : 0;
        gain += ss * ds * ds;
        store<f64>(scale, load<f64>(scale) + ds);
        if (ds != 0) addOne(slope, row, <f32>ds, size);
        continue;
      }
      const m = groups + g;
      const other = row + <usize>groups * width;
      const sm = <f64>load<f32>(row + (<usize>m << 2));
      const mm = <f64>load<f32>(other + (<usize>m << 2));
      const b = <f64>load<f32>(slope + (<usize>m << 2));
      const minimum = load<f64>(levels + (<usize>m << 3));
      const determinant = ss * mm - sm * sm;
      const regular = determinant > SINGULAR * ss * mm;
      let dm = regular ? (sm * a - ss * b) / determinant : 0;
      let ds = regular ? (sm * b - mm * a) / determinant : 0;
      if (!regular || minimum + dm > bound) {
        dm = regular ? bound - minimum : min<f64>(0, bound - minimum);
        ds = ss > 0 ? -(a + dm * sm) / ss : 0;
      }
      gain -= 2 * (a * ds + b * dm) + ss * ds * ds + 2 * sm * ds * dm + mm * dm * dm;
      store<f64>(scale, load<f64>(scale) + ds);
      store<f64>(levels + (<usize>m << 3), minimum + dm);
      if (ds != 0 || dm != 0) addTwo(slope, row, <f32>ds, other, <f32>dm, size);
    }
    total += gain;
    if (!(gain > ENOUGH * total)) break;
  }
}

/**
 * Levels of rows fitted, stored and moved downhill, in place; what loses more than the levels there were is not taken.
 * matrix: f32[rows][size, size], slope: f64[rows, size] at the levels there are, units: f32[rows, size / shared],
 * codes: i16[rows, size] or 0 (then units are the values), values: f32[rows, size], scratch: 36 size bytes, each part of it
 * aligned as size is a multiple of 4 or rounded up to one. bound: of the minima; rounding of units: 0: f32, 1: f16, 2: bf16.
 */
export function refit_levels(
  matrix: usize, slope: usize, rows: i32, groups: i32, size: i32, shared: i32, units: usize, codes: usize, values: usize,
  lowest: i32, highest: i32, bound: f64, rounding: i32, keepsSigns: i32, fitSweeps: i32, sweeps: i32, scratch: usize,
): void {
  const count = <usize>((size + 3) & ~3);
  const levels = scratch, moved = levels + (count << 3);
  const wished = moved + (count << 3), weights = wished + (count << 2);
  const newValues = weights + (count << 2), codesAt = newValues + (count << 2);
  const newCodes: usize = codes ? codesAt : 0, newUnits: usize = codes ? codesAt + (count << 1) : newValues;
  const row = <usize>size << 2, cells = <usize>size * row;
  const low = <f64>lowest, high = <f64>highest;
  for (let r = 0; r < rows; r++) {
    for (let i = 0; i < size; i++) store<f64>(levels + (<usize>i << 3), <f64>load<f32>(values + (<usize>i << 2)));
    for (let i = 0; i < size; i++) store<f32>(moved + (<usize>i << 2), <f32>load<f64>(slope + (<usize>i << 3)));
    relax(matrix, moved, levels, groups, size, bound, fitSweeps);
    for (let i = 0; i < size; i++) {
      const level = load<f64>(levels + (<usize>i << 3));
      store<f32>(wished + (<usize>i << 2), <f32>(i >= groups && level > bound ? bound : level));
      store<f32>(weights + (<usize>i << 2), load<f32>(matrix + (<usize>i * <usize>(size + 1) << 2)));
    }
    if (codes) {
      for (let i = 0; i < size; i += shared) {
        const at = <usize>i << 2;
        const unit = newUnits + (<usize>(i / shared) << 2);
        fit_unit(wished + at, weights + at, shared, lowest, highest, unit, newCodes + (at >> 1), newValues + at);
      }
    } else {
      for (let at: usize = 0; at < row; at += 4) {
        const held = load<f32>(values + at);
        const wish = load<f32>(wished + at);
        const unit = rounding == 1 ? storableHalf(<f64>wish) : roundedTo(wish, rounding);
        store<f32>(newValues + at, keepsSigns && !(<f64>unit * <f64>held > 0) ? held : unit);
      }
    }
    // The slope at the new levels, and the difference of the losses: (new - old)' (slope there + slope here).
    memory.copy(moved, slope, <usize>size << 3);
    for (let i = 0; i < size; i++) {
      const at = <usize>i << 2;
      store<f64>(levels + (<usize>i << 3), <f64>load<f32>(newValues + at) - <f64>load<f32>(values + at));
    }
    addScaledRows(moved, matrix, levels, size, size);
    descendLevels(matrix, moved, groups, size, shared, newUnits, newCodes, newValues, low, high, rounding, sweeps);
    let change: f64 = 0;
    for (let i = 0; i < size; i++) {
      const at = <usize>i << 2;
      const delta = <f64>load<f32>(newValues + at) - <f64>load<f32>(values + at);
      change += delta * (load<f64>(moved + (<usize>i << 3)) + load<f64>(slope + (<usize>i << 3)));
    }
    if (change < 0) {
      memory.copy(values, newValues, row);
      if (codes) {
        memory.copy(codes, newCodes, row >> 1);
        memory.copy(units, newUnits, row / shared);
      }
    } else {
      descendLevels(matrix, slope, groups, size, shared, codes ? units : values, codes, values, low, high, rounding, sweeps);
    }
    matrix += cells;
    slope += <usize>size << 3;
    values += row;
    if (codes) {
      codes += row >> 1;
      units += row / shared;
    }
  }
}
