// Refinement of codes and levels by the Hessian of the inputs. See quantize/rounding/descent.ts and refit.ts, whose slow forms are
// the reference. The Hessian comes in panels of some of its rows: whole it can be larger than the memory of a worker should be.

/**
 * One pass of coordinate descent over columns [first, first + count) of all rows; the reference's operations in its order.
 * gradient: f64[rows, cols], decoded: f32[rows, cols], codes: u8[rows, cols], panel: f32[count, cols] rows of the Hessian,
 * values: f32[top + 1], scales, mins: f32[rows, cols / group] (mins may be 0). Returns the number of codes changed.
 */
export function descend_columns(
  gradient: usize, decoded: usize, codes: usize, panel: usize, first: i32, count: i32, rows: i32, cols: i32, group: i32,
  values: usize, top: i32, scales: usize, mins: usize,
): i32 {
  const groups = cols / group;
  let changed = 0;
  for (let k = first; k < first + count; k++) {
    const hessian = panel + (<usize>(k - first) * <usize>cols << 2);
    const curvature = <f64>load<f32>(hessian + (<usize>k << 2));
    const level = <usize>(k / group) << 2;
    for (let r = 0; r < rows; r++) {
      const at = <usize>r * <usize>cols + <usize>k;
      const slope = load<f64>(gradient + (at << 3));
      const g = (<usize>r * <usize>groups << 2) + level;
      const scale = load<f32>(scales + g);
      if (scale == 0 || slope == 0) continue;
      const minimum = mins ? load<f32>(mins + g) : 0;
      const value = load<f32>(decoded + (at << 2));
      const step = (slope < 0) == (scale > 0) ? 1 : -1;
      let code = <i32>load<u8>(codes + at);
      let delta: f64 = 0, gain: f64 = 0;
      for (let next = code + step; next >= 0 && next <= top; next += step) {
        const reached: f32 = scale * load<f32>(values + (<usize>next << 2)) + minimum;
        const moved = <f64>reached - <f64>value;
        const change = moved * (moved * curvature + 2 * slope);
        if (!(change < gain)) break;
        gain = change;
        delta = moved;
        code = next;
      }
      if (delta == 0) continue;
      store<u8>(codes + at, code);
      store<f32>(decoded + (at << 2), <f32>(<f64>value + delta));
      addScaled(gradient + (<usize>r * <usize>cols << 3), hessian, delta, cols);
      changed++;
    }
  }
  return changed;
}

/** y: f64[n] += factor * x: f32[n] */
function addScaled(y: usize, x: usize, factor: f64, n: i32): void {
  const scale = f64x2.splat(factor);
  let i: i32 = 0;
  for (; i + 4 <= n; i += 4, x += 16, y += 32) {
    const low = f64x2.promote_low_f32x4(v128.load64_zero(x));
    const high = f64x2.promote_low_f32x4(v128.load64_zero(x, 8));
    v128.store(y, f64x2.add(v128.load(y), f64x2.mul(low, scale)));
    v128.store(y, f64x2.add(v128.load(y, 16), f64x2.mul(high, scale)), 16);
  }
  for (; i < n; i++, x += 4, y += 8) store<f64>(y, load<f64>(y) + factor * <f64>load<f32>(x));
}

/**
 * Sums of the Hessian over pairs of groups, weighted by the grid values x of four rows, for the group whose rows are `panel`:
 *   scaled[h] = sum over i in the group, j in h of x_i H_ij x_j,  plain[h] = the same without x_i.
 * panel: f32[group, cols], x: f32[4, cols], own: f32[group, 4] the group's x, rows in lanes; scaled, plain: f32x4[groups], rows in
 * lanes (plain may be 0); the first `last` groups h are summed. group: a multiple of 4.
 */
export function group_sums(
  panel: usize, x: usize, own: usize, group: i32, cols: i32, last: i32, scaled: usize, plain: usize,
): void {
  const row = <usize>cols << 2;
  const width = <usize>group << 2;
  for (let h: i32 = 0; h < last; h++, x += width, panel += width, scaled += 16) {
    let weighted = f32x4.splat(0), all = f32x4.splat(0);
    let hessian = panel;
    for (let i: i32 = 0; i < group; i++, hessian += row) {
      let a = f32x4.splat(0), b = a, c = a, d = a;
      for (let j: usize = 0; j < width; j += 16) {
        const v = v128.load(hessian + j);
        a = f32x4.add(a, f32x4.mul(v, v128.load(x + j)));
        b = f32x4.add(b, f32x4.mul(v, v128.load(x + row + j)));
        c = f32x4.add(c, f32x4.mul(v, v128.load(x + 2 * row + j)));
        d = f32x4.add(d, f32x4.mul(v, v128.load(x + 3 * row + j)));
      }
      const ab = f32x4.add(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7));
      const cd = f32x4.add(v128.shuffle<f32>(c, d, 0, 4, 1, 5), v128.shuffle<f32>(c, d, 2, 6, 3, 7));
      const sum = f32x4.add(v128.shuffle<f64>(ab, cd, 0, 2), v128.shuffle<f64>(ab, cd, 1, 3));
      all = f32x4.add(all, sum);
      weighted = f32x4.add(weighted, f32x4.mul(sum, v128.load(own + (<usize>i << 4))));
    }
    v128.store(scaled, weighted);
    if (plain) {
      v128.store(plain, all);
      plain += 16;
    }
  }
}
