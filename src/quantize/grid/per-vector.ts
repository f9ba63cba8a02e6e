/**
 * Per-vector scaled quantization (VS-Quant, arXiv 2102.04503): vectors of 16 to 64 values with an integer scale of a few bits
 * under one float scale a row.
 */
import { RecipeError } from '../../errors.ts';
import type { Levels, QuantizedTile } from '../../quantized/types.ts';
import type { TilePlace } from '../quantize-matrix.ts';
import { integerGrid } from './integer.ts';
import { tableOfValues } from './nearest.ts';
import { checkRows, checkWeights, runsOf } from './place.ts';
import { absmaxOf, encodeRun, runError } from './runs.ts';
import { storedScale } from './table-matrix.ts';

export interface PerVectorOptions {
  /** Of the signed integer grid, 2..8. */
  bits: number;
  /** Values that share an integer scale. */
  vector: number;
  /** Bits of the integer scales, 2..8: they are 0..2^bits - 1. */
  scaleBits: number;
  /** Of the scale of a row (f16). */
  scaleType?: 'f32' | 'f16' | 'bf16';
  /** nearest (default), or of the nearest integer scale and its neighbours the one of least (weighted) error. */
  choice?: 'nearest' | 'search';
  /** Weights of the squared error by column, [cols]. */
  weights?: Float32Array;
}

/**
 * s = absmax / (2^(bits-1) - 1) of each vector, row scale = largest s of the row / (2^scaleBits - 1), integer scale = round(s / row
 * scale), at least 1 where the vector is not zero; codes belong to the product of both.
 * @param x [to - from, cols], cols a multiple of the vector
 */
export function quantizePerVector(x: Float32Array, place: TilePlace, options: PerVectorOptions): QuantizedTile {
  checkRows(x, place);
  const { name, shape, from, to } = place;
  const cols = shape[1];
  const { bits, vector, scaleBits, scaleType = 'f16', choice = 'nearest', weights } = options;
  checkWeights(weights, cols, name);
  if (!Number.isInteger(scaleBits) || scaleBits < 2 || scaleBits > 8) {
    throw new RecipeError({
      what: 'integer scales of this width do not exist',
      where: name,
      value: scaleBits,
      limit: '2..8 bits',
    });
  }
  if (bits < 2) {
    throw new RecipeError({ what: 'a signed grid needs 2 bits', where: name, value: bits, next: 'use 2..8 bits' });
  }
  const { qMax } = integerGrid(bits, true);
  const grid = { kind: 'integer', bits, signed: true } as const;
  // The lowest code is left out: the grid is symmetric, as the paper has it.
  const values = Float32Array.from({ length: 2 ** bits }, (_, code) => (code === 0 ? Number.NaN : code - qMax - 1));
  const table = tableOfValues(values, { ties: 'evenValue' });
  const { per, run } = runsOf({ group: vector }, x, place);
  const across = cols / run;
  const most = 2 ** scaleBits - 1;

  const codes = new Uint8Array(x.length); // [to - from, cols]
  const levels = new Int16Array(x.length / run); // [to - from, cols / vector]
  const scales = new Float32Array(levels.length);
  const rows = new Float32Array(to - from);
  for (let row = 0, at = 0; row < to - from; row++, at += cols) {
    const parent = storedScale(absmaxOf(x, at, at + cols) / qMax / most, scaleType, () => `${name}, row ${from + row}`);
    rows[row] = parent;
    for (let v = 0, start = at; v < across; v++, start += run) {
      const level = row * across + v;
      const code = parent === 0 ? 0 : integerScale(start, parent);
      levels[level] = code;
      scales[level] = code * parent;
      encodeRun(table, x, start, start + run, scales[level]!, { compute: 'f64', divide: 'divide' }, codes);
    }
  }
  const parent: Levels = { values: rows, stored: scaleType, per: { rows: 1, cols: 0 } };
  return {
    name,
    shape,
    from,
    to,
    grid,
    codes,
    scale: { values: scales, stored: { bits: scaleBits }, per, codes: levels, parent },
  };

  function integerScale(start: number, parent: number): number {
    const absmax = absmaxOf(x, start, start + run);
    if (absmax === 0) return 0;
    const nearest = Math.min(Math.max(Math.round(absmax / qMax / parent), 1), most);
    if (choice === 'nearest') return nearest;
    let best = nearest;
    let least = Number.POSITIVE_INFINITY;
    for (const code of [nearest, nearest + 1, nearest - 1, nearest - 2, nearest - 3]) {
      if (code < 1 || code > most) continue;
      const error = runError(table, x, start, start + run, Math.fround(code * parent), weights, start % cols);
      if (error < least) {
        least = error;
        best = code;
      }
    }
    return best;
  }
}
