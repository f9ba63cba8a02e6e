/**
 * LLM.int8() (Dettmers et al., arXiv 2208.07339) as bitsandbytes computes it: rows of inputs and weights in 8 bits, their integer
 * product, and the columns where an input reaches the threshold apart, in 16 bits. Which columns those are, each input decides.
 */
import { RecipeError } from '../../errors.ts';
import { roundF16 } from '../../numeric/f16.ts';
import { halfEven } from '../../numeric/rounding.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { checkFinite } from '../check.ts';
import type { TilePlace } from '../quantize-matrix.ts';

const { fround } = Math;

/** 1 / 127², as bitsandbytes writes it. */
const BOTH_STEPS = fround(6.200124e-5);
/** 1 / 127 */
const STEP = fround(0.00787401574803149);

export interface Int8Rows {
  /** [rows, cols], -127..127 */
  codes: Int8Array;
  /** [rows]: the largest magnitude, 127 steps. */
  absmax: Float32Array;
}

export interface Int8Input extends Int8Rows {
  /** Ascending: columns in which some value reaches the threshold. Their codes are 0. */
  outlierColumns: Int32Array;
}

export interface LlmInt8Output extends Int8Input {
  /** [tokens, rows]: products of codes. */
  product: Int32Array;
  /** [tokens, rows], f16 values: the integer part with the bias, and with the outlier columns added. */
  scaled: Float32Array;
  output: Float32Array;
}

/** Rows to 8 bits by x * (127 / absmax), ties to even. x: [rows, cols], f16 or f32 values. NumericError for NaN and Inf */
export function int8Rows(x: Float32Array, cols: number, name = 'matrix'): Int8Rows {
  checkRows(x.length, cols, name);
  checkFinite(x, name, 0, cols);
  const rows = x.length / cols;
  const codes = new Int8Array(x.length);
  const absmax = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const line = x.subarray(row * cols, (row + 1) * cols);
    let most = 0;
    for (const value of line) most = Math.max(most, Math.abs(value));
    absmax[row] = most;
    if (most === 0) continue;
    const inverse = fround(127 * fround(1 / most));
    for (let c = 0; c < cols; c++) codes[row * cols + c] = halfEven(fround(line[c]! * inverse));
  }
  return { codes, absmax };
}

/** An input's rows. Values at or above the threshold do not count for absmax; threshold 0: no outliers. x: [tokens, cols] */
export function int8Input(x: Float32Array, cols: number, threshold: number): Int8Input {
  if (!(threshold > 0)) return { ...int8Rows(x, cols, 'activations'), outlierColumns: new Int32Array(0) };
  const isOutlier = new Uint8Array(cols);
  const inside = x.map((value, i) => {
    if (Math.abs(value) < threshold) return value;
    isOutlier[i % cols] = 1;
    return Number.isFinite(value) ? 0 : value;
  });
  const { codes, absmax } = int8Rows(inside, cols, 'activations');
  const outlierColumns = Int32Array.from(isOutlier.keys()).filter((c) => isOutlier[c]);
  // bitsandbytes leaves the other values of the columns in where there is one token: they would count twice.
  if (absmax.length > 1) for (let i = 0; i < codes.length; i++) if (isOutlier[i % cols]) codes[i] = 0;
  return { codes, absmax, outlierColumns };
}

/** a [n, cols] times the transpose of b [m, cols]: [n, m] */
export function int8Product(a: Int8Array, b: Int8Array, cols: number): Int32Array {
  const n = a.length / cols;
  const m = b.length / cols;
  const out = new Int32Array(n * m);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < m; j++) {
      let sum = 0;
      for (let c = 0, at = i * cols, other = j * cols; c < cols; c++) sum += a[at + c]! * b[other + c]!;
      out[i * m + j] = sum;
    }
  }
  return out;
}

export interface LlmInt8Options {
  /** 6 in the paper; 0: no outliers. */
  threshold: number;
  /** [rows], f16 values. */
  bias?: Float32Array;
  /** [rows, cols] in 16 bits, for the outlier columns; by default those are what the 8-bit codes stand for, as in a stored model. */
  weight16?: Float32Array;
}

/**
 * x W' + bias as Linear8bitLt gives it in f16.
 * @param x [tokens, cols], f16 values
 */
export function llmInt8Linear(x: Float32Array, weight: Int8Rows, cols: number, options: LlmInt8Options): LlmInt8Output {
  const input = int8Input(x, cols, options.threshold);
  const tokens = input.absmax.length;
  const rows = weight.absmax.length;
  const product = int8Product(input.codes, weight.codes, cols);
  const scaled = new Float32Array(product.length);
  const output = new Float32Array(product.length);
  const columns = input.outlierColumns;
  const apart = columnsOf(weight, cols, columns, options.weight16);
  for (let t = 0; t < tokens; t++) {
    for (let row = 0; row < rows; row++) {
      const at = t * rows + row;
      const steps = fround(input.absmax[t]! * weight.absmax[row]!);
      const value = fround(fround(fround(product[at]!) * steps) * BOTH_STEPS);
      scaled[at] = roundF16(fround(value + (options.bias?.[row] ?? 0)));
      let sum = 0;
      for (const [k, c] of columns.entries()) sum += x[t * cols + c]! * apart[row * columns.length + k]!;
      output[at] = columns.length > 0 ? roundF16(fround(scaled[at]! + fround(sum))) : scaled[at]!;
    }
  }
  return { ...input, product, scaled, output };
}

/** Columns of the weight as f16 values, [rows, columns]. */
function columnsOf({ codes, absmax }: Int8Rows, cols: number, columns: Int32Array, weight16?: Float32Array): Float32Array {
  const n = columns.length;
  return Float32Array.from({ length: absmax.length * n }, (_, i) => {
    const row = Math.floor(i / n);
    const at = row * cols + columns[i % n]!;
    return roundF16(weight16 ? weight16[at]! : fround(fround(codes[at]! * absmax[row]!) * STEP));
  });
}

/**
 * Rows [place.from, place.to) of a weight in 8 bits. The scale is a 127th of absmax; a row of zeros has the scale 0.
 * @param x [to - from, cols]
 */
export function int8Tile(x: Float32Array, { name, shape, from, to }: TilePlace): QuantizedTile {
  if (x.length !== (to - from) * shape[1]) {
    throw new RecipeError({
      what: 'the values do not fill the rows',
      where: name,
      value: x.length,
      limit: (to - from) * shape[1],
    });
  }
  const { codes, absmax } = int8Rows(x, shape[1], name);
  return {
    name,
    shape,
    from,
    to,
    grid: { kind: 'integer', bits: 8, signed: true },
    codes: Uint8Array.from(codes, (code) => code + 128),
    scale: { values: absmax.map((most) => most * STEP), stored: 'f32', per: { rows: 1, cols: 0 } },
    arithmetic: { compute: 'f32', divide: 'reciprocal', rounding: 'halfEven', scale: 'beforeCast' },
  };
}

function checkRows(values: number, cols: number, where: string): void {
  if (cols >= 1 && values % cols === 0) return;
  throw new RecipeError({ what: 'the values are no whole rows', where, value: values, limit: `a multiple of ${cols}` });
}
