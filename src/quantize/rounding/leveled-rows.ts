/**
 * What refinement works on: rows of codes under levels of runs of consecutive columns, as plain arrays, whatever container they
 * come from. Its loss is what the layer's output changes, sum over rows of (ŵ - w) H (ŵ - w)'.
 */
import { RecipeError } from '../../errors.ts';

/** ŵ = f32(f32(scale * values[code]) + min), or a kept value. */
export interface LeveledRows {
  rows: number;
  cols: number;
  /** Columns that share a level. */
  group: number;
  /** [rows, cols] */
  codes: Uint8Array;
  /** Ascending: what codes stand for, [entries], or [rows, entries] where each row has its own. */
  values: Float32Array;
  /** Where each row has its own values. */
  entries?: number;
  /** [rows, cols / group] */
  scales: Float32Array;
  /** [rows, cols / group] */
  mins?: Float32Array;
  /** Where minima hang on the scales, min = -zero scale: [rows, cols / group] */
  zeros?: Float32Array;
  /** Cells without a code, [rows, cols]: 255 in the mask, and what they hold. */
  kept?: { mask: Uint8Array; values: Float32Array };
}

/** a [m, k] times the symmetric h [k, k] -> [m, k]: the one step that costs rows * cols², given by whoever has a fast one. */
export type SymmetricProduct = (a: Float32Array, h: Float32Array, k: number) => Float32Array;

/** @throws RecipeError when arrays do not have the sizes that rows, cols and group tell */
export function checkRows(w: Float32Array, hessian: Float32Array, { rows, cols, group, codes, scales, mins }: LeveledRows): void {
  const levels = (rows * cols) / group;
  const sizes: [string, number, number][] = [
    ['weights', w.length, rows * cols],
    ['codes', codes.length, rows * cols],
    ['the Hessian', hessian.length, cols * cols],
    ['scales', scales.length, levels],
    ['minima', mins?.length ?? levels, levels],
  ];
  for (const [what, value, limit] of sizes)
    if (value !== limit || cols % group) throw new RecipeError({ what: `${what} do not fit the rows`, value, limit });
}

/** ŵ of row `row` -> out [cols]. */
export function decodeRow(quantized: LeveledRows, row: number, out: Float32Array): void {
  const { cols, group, codes, values, entries = 0, scales, mins, kept } = quantized;
  const first = row * entries;
  for (let start = 0, g = (row * cols) / group, at = row * cols; start < cols; start += group, g++) {
    const scale = scales[g];
    const min = mins ? mins[g] : undefined;
    for (let c = start; c < start + group; c++, at++) {
      const product = Math.fround(scale * values[first + codes[at]]);
      out[c] = min === undefined ? product : product + min;
    }
  }
  if (!kept) return;
  for (let c = 0, at = row * cols; c < cols; c++, at++) if (kept.mask[at]) out[c] = kept.values[at];
}

/** ŵ - w, [rows, cols]; exact where both are close (Sterbenz), else rounded to f32. */
export function errorsOf(w: Float32Array, quantized: LeveledRows): Float32Array {
  const { rows, cols } = quantized;
  const errors = new Float32Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    const row = errors.subarray(r * cols, (r + 1) * cols);
    decodeRow(quantized, r, row);
    for (let c = 0; c < cols; c++) row[c] -= w[r * cols + c];
  }
  return errors;
}

/**
 * The loss of each row, [rows].
 * @param w [rows, cols]
 * @param hessian [cols, cols]
 */
export function rowLosses(
  w: Float32Array,
  quantized: LeveledRows,
  hessian: Float32Array,
  product: SymmetricProduct,
): Float64Array {
  checkRows(w, hessian, quantized);
  const { rows, cols } = quantized;
  const errors = errorsOf(w, quantized);
  const fed = product(errors, hessian, cols);
  const losses = new Float64Array(rows);
  for (let r = 0, at = 0; r < rows; r++) for (let c = 0; c < cols; c++, at++) losses[r] += errors[at] * fed[at];
  return losses;
}
