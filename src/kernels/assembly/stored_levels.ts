// Levels that a container can store, moved downhill. See quantize/rounding/stored-levels.ref.ts: its operations in its order.
import { roundedTo } from './half';

/** Of the levels under one unit, 64 at most. */
const deltas: usize = memory.data(64 * 8, 16); // f64[64]

/** y: f64[n] += factors[0] * x[0] + factors[1] * x[1] + ..., one after another; x: f32[count, n] */
export function addScaledRows(y: usize, x: usize, factors: usize, count: i32, n: i32): void {
  const row = <usize>n << 2;
  let j: i32 = 0;
  for (; j + 8 <= n; j += 8, y += 64, x += 32) {
    let a = v128.load(y), b = v128.load(y, 16), c = v128.load(y, 32), d = v128.load(y, 48);
    let at = x;
    for (let i: i32 = 0; i < count; i++, at += row) {
      const factor = v128.load64_splat(factors + (<usize>i << 3));
      a = f64x2.add(a, f64x2.mul(factor, f64x2.promote_low_f32x4(v128.load64_zero(at))));
      b = f64x2.add(b, f64x2.mul(factor, f64x2.promote_low_f32x4(v128.load64_zero(at, 8))));
      c = f64x2.add(c, f64x2.mul(factor, f64x2.promote_low_f32x4(v128.load64_zero(at, 16))));
      d = f64x2.add(d, f64x2.mul(factor, f64x2.promote_low_f32x4(v128.load64_zero(at, 24))));
    }
    v128.store(y, a);
    v128.store(y, b, 16);
    v128.store(y, c, 32);
    v128.store(y, d, 48);
  }
  for (; j < n; j++, y += 8, x += 4) {
    let sum = load<f64>(y);
    let at = x;
    for (let i: i32 = 0; i < count; i++, at += row) sum += load<f64>(factors + (<usize>i << 3)) * <f64>load<f32>(at);
    store<f64>(y, sum);
  }
}

/** Moves `count` levels from `from` on by `deltas` if the loss falls by it. */
function tryMove(matrix: usize, slope: usize, size: i32, from: i32, count: i32): bool {
  let change: f64 = 0;
  const row = <usize>size << 2;
  const rows = matrix + <usize>from * row;
  for (let a = 0; a < count; a++) {
    let curved: f64 = 0;
    const at = rows + <usize>a * row + (<usize>from << 2);
    for (let b = 0; b < count; b++) curved += <f64>load<f32>(at + (<usize>b << 2)) * load<f64>(deltas + (<usize>b << 3));
    change += load<f64>(deltas + (<usize>a << 3)) * (2 * load<f64>(slope + (<usize>(from + a) << 3)) + curved);
  }
  if (!(change < 0)) return false;
  addScaledRows(slope, rows, deltas, count, size);
  return true;
}

function descendCodes(
  matrix: usize, slope: usize, size: i32, from: i32, to: i32, shared: i32,
  units: usize, codes: usize, values: usize, lowest: f64, highest: f64,
): bool {
  let moved = false;
  for (let i = from; i < to; i++) {
    const unit = <f64>load<f32>(units + (<usize>(i / shared) << 2));
    const curvature = <f64>load<f32>(matrix + (<usize>i * <usize>(size + 1) << 2));
    if (unit == 0 || !(curvature > 0)) continue;
    const value = <f64>load<f32>(values + (<usize>i << 2));
    const best = (value - load<f64>(slope + (<usize>i << 3)) / curvature) / unit;
    const code = best <= lowest ? lowest : best >= highest ? highest : nearest<f64>(best);
    if (<i32>code == <i32>load<i16>(codes + (<usize>i << 1))) continue;
    const reached = <f32>(unit * code);
    store<f64>(deltas, <f64>reached - value);
    if (!tryMove(matrix, slope, size, i, 1)) continue;
    store<i16>(codes + (<usize>i << 1), <i16>code);
    store<f32>(values + (<usize>i << 2), reached);
    moved = true;
  }
  return moved;
}

@inline
function codeOf(codes: usize, i: i32): f64 {
  return codes ? <f64>load<i16>(codes + (<usize>i << 1)) : 1;
}

function descendUnits(
  matrix: usize, slope: usize, size: i32, from: i32, to: i32, shared: i32,
  units: usize, codes: usize, values: usize, rounding: i32,
): bool {
  let moved = false;
  for (let first = from; first < to; first += shared) {
    let along: f64 = 0, curvature: f64 = 0;
    for (let a = first; a < first + shared; a++) {
      const code = codeOf(codes, a);
      along += code * load<f64>(slope + (<usize>a << 3));
      const at = matrix + (<usize>a * <usize>size << 2);
      for (let b = first; b < first + shared; b++) {
        curvature += code * <f64>load<f32>(at + (<usize>b << 2)) * codeOf(codes, b);
      }
    }
    if (!(curvature > 0)) continue;
    const place = units + (<usize>(first / shared) << 2);
    const held = load<f32>(place);
    const unit = roundedTo(<f32>(<f64>held - along / curvature), rounding);
    if (unit == held || !(<f64>unit * <f64>held > 0) || unit - unit != 0) continue;
    for (let a = 0; a < shared; a++) {
      const reached = <f32>(<f64>unit * codeOf(codes, first + a));
      store<f64>(deltas + (<usize>a << 3), <f64>reached - <f64>load<f32>(values + (<usize>(first + a) << 2)));
    }
    if (!tryMove(matrix, slope, size, first, shared)) continue;
    store<f32>(place, unit);
    for (let a = first; a < first + shared; a++) store<f32>(values + (<usize>a << 2), <f32>(<f64>unit * codeOf(codes, a)));
    moved = true;
  }
  return moved;
}

/** Sweeps over the codes and units of one row: scales, then minima. */
export function descendLevels(
  matrix: usize, slope: usize, groups: i32, size: i32, shared: i32,
  units: usize, codes: usize, values: usize, lowest: f64, highest: f64, rounding: i32, sweeps: i32,
): void {
  for (let sweep = 0; sweep < sweeps; sweep++) {
    let moved = false;
    for (let from = 0; from < size; from += groups) {
      const to = from + groups;
      if (codes && descendCodes(matrix, slope, size, from, to, shared, units, codes, values, lowest, highest)) moved = true;
      if (descendUnits(matrix, slope, size, from, to, shared, units, codes, values, rounding)) moved = true;
    }
    if (!moved) break;
  }
}
