/**
 * SINQ (Sinkhorn-normalized quantization, arXiv 2509.22944): a matrix is divided by row and column scales until the deviations of its
 * rows and columns are alike, then quantized by groups: w ≈ row · column · dequantized. No data. The row scale of a group is part of
 * its scale, so that only the columns' remains.
 */
import { NumericError, RecipeError } from '../errors.ts';
import type { QuantizedTile } from '../quantized/types.ts';
import { checkFinite } from './check.ts';
import { quantizeRows, type RowOptions, type TilePlace } from './quantize-matrix.ts';
import type { MatrixScheme } from './scheme.ts';
import { type StoredFloat, storedValue } from './stored-value.ts';

export interface SinqOptions {
  /** Iterations, of which the state of least imbalance is kept (16). */
  iterations?: number;
  /** Columns that are balanced together, each block with row scales of its own, as the paper tiles by groups; by default all. */
  block?: number;
  /** How column scales are stored (f16): they are rounded before anything is divided by them. */
  stored?: StoredFloat;
}

export interface SinqScales {
  /** [cols] */
  column: Float32Array;
  /** [rows, cols / block]: what a group's own scale takes in. */
  row: Float32Array;
  /** [cols / block]: largest over smallest deviation of a row or column, before and after. */
  before: Float64Array;
  after: Float64Array;
}

const ITERATIONS = 16;
/** One iteration moves a scale by no more (section 3, algorithm 1). */
const LEAST_MOVE = 0.7;
const MOST_MOVE = 2;
/** Deviations count within this of the matrix's: rows and columns of one value have none. */
const FLOOR = 1e-3;
const CEILING = 1e3;

/**
 * Scales of a whole matrix.
 * @param w [rows, cols]
 * @throws NumericError for NaN, Inf or scales that overflow their dtype, RecipeError for blocks that do not fit
 */
export function sinqScales(
  w: Float32Array,
  shape: readonly [rows: number, cols: number],
  options: SinqOptions = {},
  name = 'matrix',
): SinqScales {
  const [rows, cols] = shape;
  const { iterations = ITERATIONS, block = cols, stored = 'f16' } = options;
  if (!Number.isInteger(block) || block < 1 || cols % block !== 0) {
    throw new RecipeError({
      what: `${cols} columns do not split into blocks`,
      where: name,
      value: block,
      next: 'use the group size',
    });
  }
  if (w.length !== rows * cols) {
    throw new RecipeError({ what: 'the values do not fill the matrix', where: name, value: w.length, limit: rows * cols });
  }
  checkFinite(w, name, 0, cols);
  const blocks = cols / block;
  const scales: SinqScales = {
    column: new Float32Array(cols),
    row: new Float32Array(rows * blocks),
    before: new Float64Array(blocks),
    after: new Float64Array(blocks),
  };
  for (let b = 0; b < blocks; b++) {
    const part = Float64Array.from(
      { length: rows * block },
      (_, i) => w[Math.floor(i / block) * cols + b * block + (i % block)]!,
    );
    const found = balance(part, rows, block, iterations);
    for (let c = 0; c < block; c++) scales.column[b * block + c] = columnScale(stored, found.column[c]!, name);
    for (let r = 0; r < rows; r++) scales.row[r * blocks + b] = found.row[r]!;
    scales.before[b] = found.before;
    scales.after[b] = found.after;
  }
  return scales;
}

/** Quantizes rows by any scheme after division by the column scales, which decoding multiplies in again. x: [to - from, cols] */
export function sinqRows(
  x: Float32Array,
  place: TilePlace,
  scheme: MatrixScheme,
  column: Float32Array,
  options: RowOptions = {},
): QuantizedTile {
  return { ...quantizeRows(divideColumns(x, column, place.name), place, scheme, options), columnScale: column };
}

/**
 * The folded form: one column scale for all linears that read one input. `divideColumns` of each of them and `multiplyGain` of the
 * norm before them (or `multiplyRows` of the linear before) leave the function as it is, and no reader has to know.
 * @param weights each [rows, cols]
 */
export function sharedColumnScale(weights: readonly Float32Array[], cols: number, options: SinqOptions = {}): Float32Array {
  const length = weights.reduce((sum, w) => sum + w.length, 0);
  const stacked = new Float32Array(length);
  let at = 0;
  for (const w of weights) {
    stacked.set(w, at);
    at += w.length;
  }
  return sinqScales(stacked, [length / cols, cols], options, 'linears of one input').column;
}

/** w[r, c] / column[c]. w: [rows, cols] */
export function divideColumns(w: Float32Array, column: Float32Array, name = 'matrix'): Float32Array {
  const cols = column.length;
  if (w.length % cols !== 0) {
    throw new RecipeError({
      what: 'the column scales are those of another width',
      where: name,
      value: w.length,
      limit: `a multiple of ${cols}`,
    });
  }
  return w.map((value, at) => value / column[at % cols]!);
}

/** gain[c] column[c]. gain: [cols] of the norm before the linears */
export function multiplyGain(gain: Float32Array, column: Float32Array): Float32Array {
  return multiplyRows(gain, column);
}

/** w[r, c] row[r]. w: [rows, cols] of the linear before, or its bias [rows] */
export function multiplyRows(w: Float32Array, row: Float32Array): Float32Array {
  const cols = w.length / row.length;
  if (!Number.isInteger(cols)) {
    throw new RecipeError({
      what: 'the row scales are those of another height',
      value: w.length,
      limit: `a multiple of ${row.length}`,
    });
  }
  return w.map((value, at) => value * row[Math.floor(at / cols)]!);
}

interface Balance {
  row: Float64Array;
  column: Float64Array;
  before: number;
  after: number;
}

/** w: [rows, cols]. Scales have the geometric mean 1 over the columns. */
function balance(w: Float64Array, rows: number, cols: number, iterations: number): Balance {
  const whole = deviationOf(w, 0, w.length, 1);
  const [floor, ceiling] = [FLOOR * whole || 1, CEILING * whole || 1];
  const clip = (x: number): number => Math.max(floor, Math.min(x, ceiling));
  const logRow = new Float64Array(rows);
  const logColumn = new Float64Array(cols);
  const scaled = w.slice();
  let best = { row: logRow.slice(), column: logColumn.slice(), imbalance: Number.POSITIVE_INFINITY };
  let before = 1;
  let least = 0;
  for (let i = 0; i <= iterations; i++) {
    const byRow = Float64Array.from({ length: rows }, (_, r) => clip(deviationOf(scaled, r * cols, cols, 1)));
    const byColumn = Float64Array.from({ length: cols }, (_, c) => clip(deviationOf(scaled, c, rows, cols)));
    const imbalance = imbalanceOf(byRow, byColumn);
    if (i === 0) {
      before = imbalance;
      least = Math.min(smallest(byRow), smallest(byColumn));
    }
    if (imbalance < best.imbalance) best = { row: logRow.slice(), column: logColumn.slice(), imbalance };
    if (i === iterations) break;
    const move = (deviation: number): number => Math.log(Math.max(LEAST_MOVE, Math.min(deviation / least, MOST_MOVE)));
    for (let r = 0; r < rows; r++) logRow[r]! += move(byRow[r]!);
    for (let c = 0; c < cols; c++) logColumn[c]! += move(byColumn[c]!);
    const inverseColumn = logColumn.map((log) => Math.exp(-log));
    for (let r = 0, at = 0; r < rows; r++) {
      const inverse = Math.exp(-logRow[r]!);
      for (let c = 0; c < cols; c++, at++) scaled[at] = w[at]! * inverse * inverseColumn[c]!;
    }
  }
  const middle = best.column.reduce((sum, log) => sum + log, 0) / cols;
  return {
    row: best.row.map((log) => Math.exp(log + middle)),
    column: best.column.map((log) => Math.exp(log - middle)),
    before,
    after: best.imbalance,
  };
}

/** Standard deviation of values at from, from + stride, ... */
function deviationOf(x: Float64Array, from: number, count: number, stride: number): number {
  let sum = 0;
  for (let i = 0, at = from; i < count; i++, at += stride) sum += x[at]!;
  const mean = sum / count;
  let squares = 0;
  for (let i = 0, at = from; i < count; i++, at += stride) squares += (x[at]! - mean) ** 2;
  return Math.sqrt(squares / Math.max(1, count - 1));
}

function imbalanceOf(byRow: Float64Array, byColumn: Float64Array): number {
  const largest = (x: Float64Array): number => x.reduce((most, v) => Math.max(most, v), 0);
  return Math.max(largest(byRow), largest(byColumn)) / Math.min(smallest(byRow), smallest(byColumn));
}

function smallest(x: Float64Array): number {
  return x.reduce((least, v) => Math.min(least, v), Number.POSITIVE_INFINITY);
}

function columnScale(stored: StoredFloat, value: number, where: string): number {
  const scale = storedValue(stored, value, 'a column scale', where);
  if (scale > 0) return scale;
  throw new NumericError({
    what: `a column scale vanishes in ${stored}`,
    where,
    value,
    next: 'store column scales as bf16 or f32',
  });
}
