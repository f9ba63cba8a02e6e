// Descent on codes by the Hessian of the inputs. See quantize/rounding/refine-math.ref.ts. The Hessian comes in panels of some of
// its rows: whole it can be larger than the memory of a worker should be.

/**
 * One pass of coordinate descent over columns [first, first + count) of all rows; the reference's operations in its order.
 * gradient, decoded: f32[rows, cols], codes: u8[rows, cols], panel: f32[count, cols] rows of the Hessian, values: f32[top + 1] or
 * one list a row, valuesStep bytes apart (0: the same), scales, mins: f32[rows, cols / group] (mins may be 0), kept: u8[rows, cols]
 * or 0: cells that have no code are not 0. Returns the number of codes changed.
 */
export function descend_columns(
  gradient: usize, decoded: usize, codes: usize, panel: usize, first: i32, count: i32, rows: i32, cols: i32, group: i32,
  values: usize, valuesStep: usize, top: i32, scales: usize, mins: usize, kept: usize,
): i32 {
  const groups = <usize>(cols / group) << 2, width = <usize>cols << 2;
  let changed = 0;
  for (let r = 0; r < rows; r++) {
    for (let k = first; k < first + count; k++) {
      const at = <usize>k << 2;
      const slope = <f64>load<f32>(gradient + at);
      const level = <usize>(k / group) << 2;
      const scale = load<f32>(scales + level);
      if (scale == 0 || slope == 0 || (kept && load<u8>(kept + k))) continue;
      const hessian = panel + <usize>(k - first) * width;
      const curvature = <f64>load<f32>(hessian + at);
      if (!(curvature > 0)) continue;
      const minimum = mins ? load<f32>(mins + level) : 0;
      const value = load<f32>(decoded + at);
      const step = (slope < 0) == (scale > 0) ? 1 : -1;
      let code = <i32>load<u8>(codes + k);
      let delta: f64 = 0, gain: f64 = 0;
      let best: f32 = value;
      for (let next = code + step; next >= 0 && next <= top; next += step) {
        const reached: f32 = scale * load<f32>(values + (<usize>next << 2)) + minimum;
        const moved = <f64>reached - <f64>value;
        const change = moved * (moved * curvature + 2 * slope);
        if (!(change < gain)) break;
        gain = change;
        delta = moved;
        best = reached;
        code = next;
      }
      if (delta == 0) continue;
      store<u8>(codes + k, code);
      store<f32>(decoded + at, best);
      addScaled(gradient, hessian, <f32>delta, cols);
      changed++;
    }
    gradient += width;
    decoded += width;
    codes += cols;
    scales += groups;
    values += valuesStep;
    if (mins) mins += groups;
    if (kept) kept += cols;
  }
  return changed;
}

/** y: f32[n] += factor * x: f32[n] */
function addScaled(y: usize, x: usize, factor: f32, n: i32): void {
  const scale = f32x4.splat(factor);
  let i: i32 = 0;
  for (; i + 8 <= n; i += 8, x += 32, y += 32) {
    v128.store(y, f32x4.add(v128.load(y), f32x4.mul(v128.load(x), scale)));
    v128.store(y, f32x4.add(v128.load(y, 16), f32x4.mul(v128.load(x, 16), scale)), 16);
  }
  for (; i < n; i++, x += 4, y += 4) store<f32>(y, load<f32>(y) + factor * load<f32>(x));
}
