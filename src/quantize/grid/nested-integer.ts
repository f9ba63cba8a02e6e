/** Integer grids whose scales are themselves integers of a few bits under one float for each row. */
import { floatTypes } from '../../numeric/float.ts';
import type { Levels, QuantizedTile } from '../../quantized/types.ts';
import { completeArithmetic } from '../arithmetic.ts';
import { quotients, roundToCodes, scratch } from '../codes.ts';
import { runLength } from '../granularity.ts';
import { gridOf, quantizeRows, type RowOptions, type TilePlace, zeroOf } from '../quantize-matrix.ts';
import type { IntegerScheme } from '../scheme.ts';
import { type IntegerGrid, integerGrid } from './integer.ts';
import { storedScale } from './table-matrix.ts';

export type NestedIntegerScheme = IntegerScheme & Required<Pick<IntegerScheme, 'nested'>>;

/**
 * Scales and zero points by the scheme's range; a scale becomes the nearest multiple of its row's float, at least one, and its zero
 * point moves along, so that the smallest value of the grid stays near where it was. Codes belong to the product.
 *   parent = largest scale of the row / (2^bits - 1)
 * @param x [to - from, cols]
 */
export function quantizeNestedRows(
  x: Float32Array,
  place: TilePlace,
  scheme: NestedIntegerScheme,
  options: RowOptions = {},
): QuantizedTile {
  const { nested, scaleType, granularity } = scheme;
  const tile = quantizeRows(x, place, { ...scheme, scaleType: 'f32' }, options);
  const { name, shape, from, to, zero: zeros } = tile;
  const cols = shape[1];
  const run = runLength(granularity, cols, name);
  const most = 2 ** nested.bits - 1;
  const grid = integerGrid(gridOf(scheme).bits, gridOf(scheme).signed);
  const arithmetic = completeArithmetic(scheme.arithmetic);
  const quotient = scratch(arithmetic.compute, cols);
  const scales = tile.scale!.values; // [to - from, groups]
  const codes = new Int16Array(scales.length);
  const parents = new Float32Array(to - from);
  for (let row = 0, level = 0; row < to - from; row++) {
    const largest = scales.subarray(level, level + cols / run).reduce((a, b) => Math.max(a, b), 0);
    const parent = storedScale(largest / most, scaleType, () => `${name}, row ${from + row}`);
    parents[row] = parent;
    const line = x.subarray(row * cols, (row + 1) * cols);
    for (let start = 0; start < cols; start += run, level++) {
      const exact = scales[level]!;
      codes[level] = parent === 0 ? 0 : Math.min(Math.max(Math.round(exact / parent), 1), most);
      const scale = codes[level]! * parent;
      scales[level] = scale;
      const step = { scale: scales[level]!, minimum: 0, before: 0, after: 0 };
      if (zeros) {
        const zero =
          scale > 0 ? movedZero(scheme, zeros.levels.values[level]!, exact / scale, grid) : zeros.levels.values[level]!;
        zeros.levels.values[level] = zero;
        step[zeros.kind === 'integer' && arithmetic.zero === 'afterRounding' ? 'after' : 'before'] = zero;
      }
      quotients(line, start, start + run, step, arithmetic, quotient);
      roundToCodes(quotient, start, start + run, step.after, grid, arithmetic.rounding, tile.codes as Uint8Array, row * cols);
    }
  }
  const parent: Levels = { values: parents, stored: scaleType, per: { rows: 1, cols: 0 } };
  const scale: Levels = { values: scales, stored: { bits: nested.bits }, per: tile.scale!.per, codes, parent };
  return { ...tile, scale, ...(zeros && { zero: { ...zeros, levels: { ...zeros.levels, stored: zeroOf(scheme)!.stored } } }) };
}

/** Where the grid keeps its smallest value: s (qMin - z) = s' (qMin - z'). */
function movedZero(
  { zero: kind, scaleType, symmetric }: IntegerScheme,
  zero: number,
  ratio: number,
  { qMin, qMax }: IntegerGrid,
): number {
  if (symmetric) return zero;
  const moved = qMin - (qMin - zero) * ratio;
  if (kind === 'float') return floatTypes[scaleType].round(moved);
  return Math.min(Math.max(Math.round(moved), qMin), qMax);
}
