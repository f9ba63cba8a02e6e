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

/** Place of the nearest of 2^depth ascending values, by halving. table: f32[2^depth] values, f32[2^depth] middles above them */
@inline
function entryOf(u: f32, table: usize, depth: i32): usize {
  const middles = table + (<usize>4 << depth);
  let entry: usize = 0;
  for (let step: usize = <usize>1 << depth >> 1; step > 0; step >>= 1) {
    entry += select<usize>(step, 0, u > load<f32>(middles + (entry + step - 1 << 2)));
  }
  return entry;
}

const steps8: usize = memory.data(32, 16); // f32[8], and what they become: values of the table
const entries8: usize = memory.data(32, 16); // i32[8]

/** Entries and values of eight rows; the table of the next row lies `tableStep` bytes on. */
function lookUp(low: v128, high: v128, table: usize, tableStep: usize, depth: i32): void {
  v128.store(steps8, low);
  v128.store(steps8, high, 16);
  for (let at: usize = 0; at < 32; at += 4, table += tableStep) {
    const entry = entryOf(load<f32>(steps8 + at), table, depth);
    store<i32>(entries8 + at, <i32>entry);
    store<f32>(steps8 + at, load<f32>(table + (entry << 2)));
  }
}

/**
 * Rounds columns [from, to), one after another.
 * x: f32[panels][cols][8] and codes: u8[panels][cols][8] at the tile's first column, p: f32[panels][128][8],
 * levels: f32[panels][groups][4][8], groupOf: i32[128], decode: how x̂ is rounded, table: 0 for integers, else f32[2][2^depth], or
 * one for each row, tableStep bytes apart (0: the same); kept: u8[panels][cols][8] or 0: 255 where x̂ is the target in the type
 * keptType; roots: f32[128] = diag(R), loss: f32[panels][8], to which ((t - x̂) diag(R))^2 is added.
 */
export function feedback_tile(
  x: usize, cols: i32, p: usize, s: usize, from: i32, to: i32, panels: i32,
  levels: usize, groups: i32, groupOf: usize, span: f32, decode: i32,
  table: usize, tableStep: usize, depth: i32, kept: usize, keptType: i32,
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
          lookUp(steps(targetLow, level), steps(targetHigh, level + 16), table, tableStep, depth);
          codeLow = v128.load(entries8), codeHigh = v128.load(entries8, 16);
          valueLow = v128.load(steps8), valueHigh = v128.load(steps8, 16);
        } else {
          valueLow = nearest(targetLow, level, span), valueHigh = nearest(targetHigh, level + 16, span);
          codeLow = i32x4.trunc_sat_f32x4_s(f32x4.sub(valueLow, v128.load(level, 96)));
          codeHigh = i32x4.trunc_sat_f32x4_s(f32x4.sub(valueHigh, v128.load(level, 112)));
        }
        valueLow = decoded(valueLow, level, decode), valueHigh = decoded(valueHigh, level + 16, decode);
        if (kept) {
          const mask = v128.load8x8_s(kept + (<usize>column << 3));
          valueLow = v128.bitselect(rounded(targetLow, keptType), valueLow, i32x4.extend_low_i16x8_s(mask));
          valueHigh = v128.bitselect(rounded(targetHigh, keptType), valueHigh, i32x4.extend_high_i16x8_s(mask));
        }
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
    table += 8 * tableStep;
    if (kept) kept += <usize>cols << 3;
    loss += 32;
  }
}
