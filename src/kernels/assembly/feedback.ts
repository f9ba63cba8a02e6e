/**
 * Rounding with error feedback inside a tile of 128 columns. Of columns that are done x holds the error ŵ - w, of the others the
 * weight w; p holds the feedback of earlier tiles, s the tile of S = R / diag(R), panels of columns. See ref/feedback.ref.ts.
 */
import { bfloatOf, floatOf, halfOf } from './half';
import { cell, COLUMN, PANEL, quadOf, subtractQuad } from './panels';

/** f32[4][8]: scale, minimum, before, low of a group of columns, for 8 rows. */
const LEVEL: usize = 128;

const quad: usize = memory.data(128, 16); // f32[4][8]

/** The feedback that `column` of quad q gets; 4 of the 8 rows. */
@inline
function fed(x: usize, s: usize, q: i32, column: i32, half: usize): v128 {
  let sum = v128.load(quad + <usize>(column - q) * COLUMN + half);
  for (let k = q; k < column; k++) {
    // Panels of columns: the cell (k, column) of S lies where (column, k) of a tile of row panels would.
    sum = f32x4.sub(sum, f32x4.mul(v128.load(x + <usize>k * COLUMN + half), v128.load32_splat(cell(s, column, k))));
  }
  return sum;
}

/**
 * Columns [from, to) get the feedback that they would get if all of them were rounded without an error: what dynamic groups see.
 * x: f32[panels][cols][8] at the tile's first column, p: f32[panels][128][8]
 */
export function feed_forward(x: usize, cols: i32, p: usize, s: usize, from: i32, to: i32, panels: i32): void {
  for (let panel: i32 = 0; panel < panels; panel++, x += <usize>cols * COLUMN, p += PANEL) {
    for (let q = from & ~3; q < to; q += 4) {
      subtractQuad(x, quadOf(s, q), q, p + <usize>q * COLUMN, quad);
      for (let column = max(q, from), end = min(q + 4, to); column < end; column++) {
        const at = x + <usize>column * COLUMN;
        const low = fed(x, s, q, column, 0), high = fed(x, s, q, column, 16);
        v128.store(at, low);
        v128.store(at, high, 16);
      }
    }
  }
}

/** 0: f32, 1: f16, 2: bf16 */
@inline
function rounded(x: v128, decode: i32): v128 {
  if (decode == 0) return x;
  return decode == 1 ? floatOf(halfOf(x)) : i32x4.shl(bfloatOf(x), 16);
}

/** (t - minimum) / scale, 0 where the scale is */
@inline
function steps(t: v128, level: usize): v128 {
  const scale = v128.load(level);
  return v128.and(f32x4.div(f32x4.sub(t, v128.load(level, 32)), scale), f32x4.ne(scale, f32x4.splat(0)));
}

/** The nearest integer of [low, low + span], as a grid value. */
@inline
function nearest(t: v128, level: usize, span: f32): v128 {
  const low = v128.load(level, 96);
  const q = f32x4.nearest(f32x4.add(steps(t, level), v128.load(level, 64)));
  return f32x4.pmin(f32x4.add(low, f32x4.splat(span)), f32x4.pmax(low, q));
}

/** x̂ = s (q - before) + minimum, each operation rounded to the compute type. */
@inline
function decoded(q: v128, level: usize, decode: i32): v128 {
  const product = rounded(f32x4.mul(v128.load(level), rounded(f32x4.sub(q, v128.load(level, 64)), decode)), decode);
  return rounded(f32x4.add(product, v128.load(level, 32)), decode);
}

/** Index of the nearest of 16 ascending values, as i32x4; table: f32[16] values, f32[15] midpoints. */
@inline
function entryOf(u: v128, table: usize): v128 {
  let index = i32x4.splat(0);
  for (let i: usize = 0; i < 60; i += 4) index = i32x4.sub(index, f32x4.gt(u, v128.load32_splat(table + i, 64)));
  return index;
}

@inline
function entry(index: v128, table: usize): v128 {
  let value = v128.load32_zero(table + (<usize>i32x4.extract_lane(index, 0) << 2));
  value = v128.load32_lane(table + (<usize>i32x4.extract_lane(index, 1) << 2), value, 1);
  value = v128.load32_lane(table + (<usize>i32x4.extract_lane(index, 2) << 2), value, 2);
  return v128.load32_lane(table + (<usize>i32x4.extract_lane(index, 3) << 2), value, 3);
}

/**
 * Rounds columns [from, to), one after another.
 * x: f32[panels][cols][8] and codes: u8[panels][cols][8] at the tile's first column, p: f32[panels][128][8],
 * levels: f32[panels][groups][4][8], groupOf: i32[128], table: 0 for integers, decode: how x̂ is rounded,
 * roots: f32[128] = diag(R), loss: f32[panels][8], to which ((t - x̂) diag(R))^2 is added.
 */
export function feedback_tile(
  x: usize, cols: i32, p: usize, s: usize, from: i32, to: i32, panels: i32,
  levels: usize, groups: i32, groupOf: usize, span: f32, decode: i32, table: usize,
  codes: usize, roots: usize, loss: usize,
): void {
  for (let panel: i32 = 0; panel < panels; panel++) {
    let lossLow = v128.load(loss), lossHigh = v128.load(loss, 16);
    for (let q = from & ~3; q < to; q += 4) {
      subtractQuad(x, quadOf(s, q), q, p + <usize>q * COLUMN, quad);
      for (let column = max(q, from), end = min(q + 4, to); column < end; column++) {
        const at = x + <usize>column * COLUMN;
        const level = levels + <usize>load<i32>(groupOf + (<usize>column << 2)) * LEVEL;
        const low = v128.load(at), high = v128.load(at, 16);
        const targetLow = f32x4.add(low, fed(x, s, q, column, 0)), targetHigh = f32x4.add(high, fed(x, s, q, column, 16));
        let codeLow: v128, codeHigh: v128, valueLow: v128, valueHigh: v128;
        if (table) {
          codeLow = entryOf(steps(targetLow, level), table), codeHigh = entryOf(steps(targetHigh, level + 16), table);
          valueLow = entry(codeLow, table), valueHigh = entry(codeHigh, table);
        } else {
          valueLow = nearest(targetLow, level, span), valueHigh = nearest(targetHigh, level + 16, span);
          codeLow = i32x4.trunc_sat_f32x4_s(f32x4.sub(valueLow, v128.load(level, 96)));
          codeHigh = i32x4.trunc_sat_f32x4_s(f32x4.sub(valueHigh, v128.load(level, 112)));
        }
        valueLow = decoded(valueLow, level, decode), valueHigh = decoded(valueHigh, level + 16, decode);
        const words = i16x8.narrow_i32x4_u(codeLow, codeHigh);
        v128.store64_lane(codes + (<usize>column << 3), i8x16.narrow_i16x8_u(words, words), 0);
        v128.store(at, f32x4.sub(valueLow, low));
        v128.store(at, f32x4.sub(valueHigh, high), 16);
        const root = v128.load32_splat(roots + (<usize>column << 2));
        const missLow = f32x4.mul(f32x4.sub(targetLow, valueLow), root);
        const missHigh = f32x4.mul(f32x4.sub(targetHigh, valueHigh), root);
        lossLow = f32x4.add(lossLow, f32x4.mul(missLow, missLow));
        lossHigh = f32x4.add(lossHigh, f32x4.mul(missHigh, missHigh));
      }
    }
    v128.store(loss, lossLow);
    v128.store(loss, lossHigh, 16);
    x += <usize>cols * COLUMN;
    p += PANEL;
    levels += <usize>groups * LEVEL;
    codes += <usize>cols << 3;
    loss += 32;
  }
}
