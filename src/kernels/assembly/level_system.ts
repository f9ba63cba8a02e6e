// The loss of rows as a function of their levels: sums of the Hessian over pairs of groups. See
// quantize/rounding/level-system.ref.ts. Eight rows lie in the lanes of two vectors: x: f32[cols, 8].

/** Codes of `rows` rows, u8[rows, cols], as values of the grid -> out: f32[ceil(rows / 8)][cols, 8], zeros beyond the rows. */
export function spread_codes(codes: usize, values: usize, rows: i32, cols: i32, out: usize): void {
  const batch = <usize>cols << 5;
  memory.fill(out, 0, <usize>((rows + 7) >> 3) * batch);
  for (let r = 0; r < rows; r++, codes += cols) {
    const to = out + <usize>(r >> 3) * batch + (<usize>(r & 7) << 2);
    for (let c = 0; c < cols; c++) {
      store<f32>(to + (<usize>c << 5), load<f32>(values + (<usize>load<u8>(codes + c) << 2)));
    }
  }
}

/** Lanes to column `at` (in bytes) of up to 8 matrices that are `step` bytes apart. */
@inline
function scatter(low: v128, high: v128, at: usize, step: usize, rows: i32): void {
  store<f32>(at, f32x4.extract_lane(low, 0));
  if (rows > 1) store<f32>(at + step, f32x4.extract_lane(low, 1));
  if (rows > 2) store<f32>(at + 2 * step, f32x4.extract_lane(low, 2));
  if (rows > 3) store<f32>(at + 3 * step, f32x4.extract_lane(low, 3));
  if (rows > 4) store<f32>(at + 4 * step, f32x4.extract_lane(high, 0));
  if (rows > 5) store<f32>(at + 5 * step, f32x4.extract_lane(high, 1));
  if (rows > 6) store<f32>(at + 6 * step, f32x4.extract_lane(high, 2));
  if (rows > 7) store<f32>(at + 7 * step, f32x4.extract_lane(high, 3));
}

/**
 * Scales meeting scales: cell (g, h) of each row's matrix becomes the sum of x_i H_ij x_j over i in group g, j in group h; h <= g.
 * panel: f32[group, cols] the Hessian's rows of group g, group: a multiple of 4, matrix: f32[rows][size, size]
 */
export function scale_sums(
  panel: usize, x: usize, rows: i32, cols: i32, group: i32, g: i32, matrix: usize, size: i32,
): void {
  const row = <usize>cols << 2, width = <usize>group << 2, step = <usize>size * <usize>size << 2;
  for (; rows > 0; rows -= 8, x += <usize>cols << 5, matrix += 8 * step) {
    let to = matrix + (<usize>g * <usize>size << 2);
    let columns = panel, other = x;
    for (let h: i32 = 0; h <= g; h++, to += 4, columns += width) {
      let low = f32x4.splat(0), high = low;
      let own = x + <usize>g * (<usize>group << 5);
      let a = columns;
      for (let i: i32 = 0; i < group; i += 4, a += 4 * row, own += 128) {
        let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
        let b = other;
        for (let at = a, end = a + width; at < end; at += 4, b += 32) {
          const xLow = v128.load(b), xHigh = v128.load(b, 16);
          let v = v128.load32_splat(at);
          s0 = f32x4.add(s0, f32x4.mul(v, xLow));
          s1 = f32x4.add(s1, f32x4.mul(v, xHigh));
          v = v128.load32_splat(at + row);
          s2 = f32x4.add(s2, f32x4.mul(v, xLow));
          s3 = f32x4.add(s3, f32x4.mul(v, xHigh));
          v = v128.load32_splat(at + 2 * row);
          s4 = f32x4.add(s4, f32x4.mul(v, xLow));
          s5 = f32x4.add(s5, f32x4.mul(v, xHigh));
          v = v128.load32_splat(at + 3 * row);
          s6 = f32x4.add(s6, f32x4.mul(v, xLow));
          s7 = f32x4.add(s7, f32x4.mul(v, xHigh));
        }
        low = f32x4.add(low, f32x4.mul(s0, v128.load(own)));
        high = f32x4.add(high, f32x4.mul(s1, v128.load(own, 16)));
        low = f32x4.add(low, f32x4.mul(s2, v128.load(own, 32)));
        high = f32x4.add(high, f32x4.mul(s3, v128.load(own, 48)));
        low = f32x4.add(low, f32x4.mul(s4, v128.load(own, 64)));
        high = f32x4.add(high, f32x4.mul(s5, v128.load(own, 80)));
        low = f32x4.add(low, f32x4.mul(s6, v128.load(own, 96)));
        high = f32x4.add(high, f32x4.mul(s7, v128.load(own, 112)));
      }
      scatter(low, high, to, step, rows);
      other += <usize>group << 5;
    }
  }
}

/**
 * Minima meeting scales: cell (groups + g, h) becomes the sum of H_ij x_j over i in group g, j in group h; all h.
 * sums: f32[cols], H summed over the rows of group g
 */
export function minimum_sums(
  sums: usize, x: usize, rows: i32, cols: i32, group: i32, g: i32, matrix: usize, size: i32,
): void {
  const groups = cols / group, step = <usize>size * <usize>size << 2;
  for (; rows > 0; rows -= 8, matrix += 8 * step) {
    let to = matrix + (<usize>(groups + g) * <usize>size << 2), at = sums;
    for (let h: i32 = 0; h < groups; h++, to += 4) {
      let low = f32x4.splat(0), high = low;
      for (let j: i32 = 0; j < group; j++, at += 4, x += 32) {
        const v = v128.load32_splat(at);
        low = f32x4.add(low, f32x4.mul(v, v128.load(x)));
        high = f32x4.add(high, f32x4.mul(v, v128.load(x, 16)));
      }
      scatter(low, high, to, step, rows);
    }
  }
}

/** The upper half of each matrix from the lower one. */
export function mirror_lower(matrix: usize, rows: i32, size: i32): void {
  const row = <usize>size << 2;
  const whole = size & ~3;
  for (let r: i32 = 0; r < rows; r++, matrix += <usize>size * row) {
    for (let a: i32 = 0; a < whole; a += 4) {
      for (let b: i32 = 0; b < a; b += 4) {
        const from = matrix + <usize>a * row + (<usize>b << 2), to = matrix + <usize>b * row + (<usize>a << 2);
        const p = v128.load(from), q = v128.load(from + row), s = v128.load(from + 2 * row), t = v128.load(from + 3 * row);
        const pqLow = v128.shuffle<i32>(p, q, 0, 4, 1, 5), pqHigh = v128.shuffle<i32>(p, q, 2, 6, 3, 7);
        const stLow = v128.shuffle<i32>(s, t, 0, 4, 1, 5), stHigh = v128.shuffle<i32>(s, t, 2, 6, 3, 7);
        v128.store(to, v128.shuffle<i64>(pqLow, stLow, 0, 2));
        v128.store(to + row, v128.shuffle<i64>(pqLow, stLow, 1, 3));
        v128.store(to + 2 * row, v128.shuffle<i64>(pqHigh, stHigh, 0, 2));
        v128.store(to + 3 * row, v128.shuffle<i64>(pqHigh, stHigh, 1, 3));
      }
      for (let i = a + 1; i < a + 4; i++) mirrorCells(matrix, i, a, i, row);
    }
    for (let a = whole; a < size; a++) mirrorCells(matrix, a, 0, a, row);
  }
}

@inline
function mirrorCells(matrix: usize, a: i32, from: i32, to: i32, row: usize): void {
  for (let b = from; b < to; b++) {
    store<f32>(matrix + <usize>b * row + (<usize>a << 2), load<f32>(matrix + <usize>a * row + (<usize>b << 2)));
  }
}

/**
 * Half the gradient in the levels: slope[g] = sum of x_i (H e)_i over the group, slope[groups + g] the same without x_i.
 * gradient: f32[rows, cols] = H e, codes: u8[rows, cols], slope: f64[rows, size]
 */
export function level_slopes(
  gradient: usize, codes: usize, values: usize, rows: i32, cols: i32, group: i32, slope: usize, size: i32,
): void {
  const groups = cols / group;
  for (let r: i32 = 0; r < rows; r++, slope += <usize>size << 3) {
    for (let g: i32 = 0; g < groups; g++) {
      let weighted: f64 = 0, all: f64 = 0;
      for (let i: i32 = 0; i < group; i++, gradient += 4, codes++) {
        const fed = <f64>load<f32>(gradient);
        weighted += <f64>load<f32>(values + (<usize>load<u8>(codes) << 2)) * fed;
        all += fed;
      }
      store<f64>(slope + (<usize>g << 3), weighted);
      if (size > groups) store<f64>(slope + (<usize>(groups + g) << 3), all);
    }
  }
}
