/** What quantization lost, and where: rounding inside the range of the codes, or clipping outside of it. */
import { RecipeError } from '../errors.ts';
import type { QuantizedTile } from '../quantized/types.ts';
import { dequantizeTile, gridTable } from './dequantize.ts';
import { spreadRow } from './granularity.ts';

/** The outermost values of a group lie on the border of its range up to the f32 rounding of scale and zero. */
const FLOAT_SLACK = 2 ** -22;

export interface QuantizationError {
  values: number;
  /** Mean of (x - x̂)². */
  mse: number;
  /** Σ (x - x̂)² of the values inside the range of their codes: for an integer grid each is at most half a step off. */
  roundingError: number;
  /** Σ (x - x̂)² of the values outside. */
  clippingError: number;
  /** How many values are outside. */
  clipped: number;
  /** Codes of the grid that no value has. */
  unusedCodes: number;
  /** 10 log10(Σ x² / Σ (x - x̂)²) in dB; Infinity where nothing is lost. */
  sqnr: number;
  /** Cosine of the angle between x and x̂; 1 where both are all zero. */
  cosine: number;
  maxError: number;
}

/**
 * Compares values with their quantization.
 * @param x [to - from, cols], the rows of the tile
 * @throws RecipeError for grids without a list of values (several codebooks, vectors, encoded blocks): use `compareValues`
 */
export function errorOf(x: Float32Array, tile: QuantizedTile): QuantizationError {
  const table = gridTable(tile.grid);
  if (!table || !tile.scale) {
    throw new RecipeError({ what: 'the range of these codes is not known', where: tile.name, value: tile.grid.kind });
  }
  const decoded = dequantizeTile(tile);
  const used = new Uint8Array(table.length);
  for (const code of tile.codes) used[code] = 1;
  const unusedCodes = used.length - used.reduce((sum, one) => sum + one, 0);
  const { roundingError, clippingError, clipped } = splitError(x, decoded, tile);
  return { ...compareValues(x, decoded), roundingError, clippingError, clipped, unusedCodes };
}

export interface ErrorSplit extends Pick<QuantizationError, 'roundingError' | 'clippingError' | 'clipped'> {
  /** The largest |x - x̂| / s of a value inside the range of its codes: at most half a step for rounding to nearest. */
  worstSteps: number;
}

/**
 * Divides the squared error into rounding and clipping.
 * @param x, decoded [to - from, cols], the rows of the tile and what it stands for
 * @throws RecipeError as `errorOf`
 */
export function splitError(x: Float32Array, decoded: Float32Array, tile: QuantizedTile): ErrorSplit {
  const table = gridTable(tile.grid);
  if (!table || !tile.scale) {
    throw new RecipeError({ what: 'the range of these codes is not known', where: tile.name, value: tile.grid.kind });
  }
  const finite = table.filter(Number.isFinite);
  const lowest = finite.reduce((a, b) => Math.min(a, b));
  const highest = finite.reduce((a, b) => Math.max(a, b));
  const { from, to, scale, zero } = tile;
  const cols = tile.shape[1];
  const rows = { from, to, cols };
  const scales = new Float32Array(cols);
  const zeros = new Float32Array(cols);

  let roundingError = 0;
  let clippingError = 0;
  let clipped = 0;
  let worstSteps = 0;
  for (let row = from, at = 0; row < to; row++) {
    spreadRow(scale!.values, scale!.per, rows, row, scales);
    if (zero) spreadRow(zero.levels.values, zero.levels.per, rows, row, zeros);
    for (let c = 0; c < cols; c++, at++) {
      const s = scales[c]! * (tile.columnScale?.[c] ?? 1);
      // A minimum is a zero of -m / s codes; without a step it is the only value there is.
      const offset = zero?.kind === 'minimum' ? zeros[c]! * (tile.columnScale?.[c] ?? 1) : -s * zeros[c]!;
      const one = s * lowest + offset;
      const other = s * highest + offset;
      const value = x[at]!;
      const error = Math.abs(value - decoded[at]!);
      const square = error * error;
      const slack = FLOAT_SLACK * Math.max(Math.abs(one), Math.abs(other));
      if (value < Math.min(one, other) - slack || value > Math.max(one, other) + slack) {
        clipped++;
        clippingError += square;
      } else {
        roundingError += square;
        if (error > worstSteps * Math.abs(s)) worstSteps = error / Math.abs(s);
      }
    }
  }
  return { roundingError, clippingError, clipped, worstSteps };
}

/** The part of `QuantizationError` that needs no codes. x, y: [n]; sums in f64. */
export function compareValues(
  x: Float32Array,
  y: Float32Array,
): Pick<QuantizationError, 'values' | 'mse' | 'sqnr' | 'cosine' | 'maxError'> {
  let noise = 0;
  let xx = 0;
  let yy = 0;
  let xy = 0;
  let maxError = 0;
  for (let i = 0; i < x.length; i++) {
    const a = x[i]!;
    const b = y[i]!;
    const difference = Math.abs(a - b);
    noise += difference * difference;
    xx += a * a;
    yy += b * b;
    xy += a * b;
    maxError = Math.max(maxError, difference); // keeps a NaN
  }
  return {
    values: x.length,
    mse: x.length === 0 ? 0 : noise / x.length,
    sqnr: noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(xx / noise),
    cosine: xx === 0 && yy === 0 ? 1 : xy / Math.sqrt(xx * yy || Number.MIN_VALUE),
    maxError,
  };
}
