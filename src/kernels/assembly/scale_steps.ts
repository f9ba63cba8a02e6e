// Scales that move one at a time, to values of a list or of a type. See quantize/rounding/listed-scales.ts: its operations in its order.

import { roundedTo } from './half';

/** y: f32[n] += f * x: f32[n] */
function addRow(y: usize, x: usize, f: f32, n: i32): void {
  const factor = f32x4.splat(f);
  let j: i32 = 0;
  for (; j + 4 <= n; j += 4, y += 16, x += 16) v128.store(y, f32x4.add(v128.load(y), f32x4.mul(factor, v128.load(x))));
  for (; j < n; j++, y += 4, x += 4) store<f32>(y, load<f32>(y) + f * load<f32>(x));
}

/** Place of the nearest of n ascending values, of two the lower. */
function nearestIn(list: usize, n: i32, x: f64): i32 {
  let low: i32 = 0, high: i32 = n - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    const a = <f64>load<f32>(list + (<usize>middle << 2)), b = <f64>load<f32>(list + (<usize>(middle + 1) << 2));
    if (x - a > b - x) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * One pass over group g of all rows: each scale goes to the storable value nearest to its best one, where the loss falls.
 * gradient, decoded: f32[rows, cols], x: f32[rows, cols] what the scale multiplies (0 where a cell has no code), panel: f32[group, cols]
 * the Hessian's rows of the group, list: f32[count] ascending, the next row's listStep bytes on; without one (count 0) what type
 * `rounding` holds, 0: f32, 1: f16, 2: bf16; scales: f32[rows, groups], which keep their signs. Returns how many changed.
 */
export function step_scales(
  gradient: usize, decoded: usize, x: usize, panel: usize, rows: i32, cols: i32, group: i32, g: i32,
  list: usize, listStep: usize, count: i32, rounding: i32, scales: usize,
): i32 {
  const groups = cols / group, width = <usize>cols << 2;
  const first = <usize>(g * group) << 2, own = <usize>g << 2;
  let changed = 0;
  for (let r = 0; r < rows; r++) {
    let slope: f64 = 0, curvature: f64 = 0;
    for (let i: i32 = 0; i < group; i++) {
      const at = first + (<usize>i << 2);
      const value = <f64>load<f32>(x + at);
      if (value == 0) continue;
      slope += value * <f64>load<f32>(gradient + at);
      const line = panel + <usize>i * width + first;
      let sum: f64 = 0;
      for (let j: i32 = 0; j < group; j++) {
        sum += <f64>load<f32>(line + (<usize>j << 2)) * <f64>load<f32>(x + first + (<usize>j << 2));
      }
      curvature += value * sum;
    }
    const scale = load<f32>(scales + own);
    if (scale != 0 && curvature > 0) {
      const wish = <f64>scale - slope / curvature;
      const moved: f32 = count ? load<f32>(list + (<usize>nearestIn(list, count, wish) << 2)) : roundedTo(<f32>wish, rounding);
      const delta = <f64>moved - <f64>scale;
      if (<f64>moved * <f64>scale > 0 && delta * (delta * curvature + 2 * slope) < 0) {
        store<f32>(scales + own, moved);
        for (let i: i32 = 0; i < group; i++) {
          const at = first + (<usize>i << 2);
          const value = load<f32>(x + at);
          if (value == 0) continue;
          const step = <f32>delta * value;
          store<f32>(decoded + at, load<f32>(decoded + at) + step);
          addRow(gradient, panel + <usize>i * width, step, cols);
        }
        changed++;
      }
    }
    gradient += width;
    decoded += width;
    x += width;
    list += listStep;
    scales += <usize>groups << 2;
  }
  return changed;
}
