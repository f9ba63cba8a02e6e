/** A grid of listed values whose scales are integers of a few bits under one float for each row or for the tensor. */
import type { Levels, QuantizedTile } from '../../quantized/types.ts';
import type { TilePlace } from '../quantize-matrix.ts';
import { nearestTable } from './nearest.ts';
import { checkRows, checkWeights, runsOf, tensorAbsmax } from './place.ts';
import { absmaxOf, encodeRun, runError } from './runs.ts';
import { storedScale } from './table-matrix.ts';
import { scalarGrid, type TableName } from './tables.ts';

export interface NestedTableOptions {
  grid: TableName;
  /** Values that share an integer scale. */
  group: number;
  /** Bits of the integer scales: 0 .. 2^bits - 1. */
  scaleBits: number;
  /** Of the float above them. */
  scaleType: 'f32' | 'f16' | 'bf16';
  per: 'row' | 'tensor';
  /** The integer scale of least (weighted) error instead of the one nearest to the absmax. */
  search?: boolean;
  /** Weights of the squared error by column, [cols]. */
  weights?: Float32Array;
}

/** Integer scales that a search tries below and above the nearest. */
const REACH = { below: 0.6, above: 1.05 };

/**
 * parent = largest absmax of the row or tensor / (largest |value| (2^scaleBits - 1)); the scale of a group is the integer multiple of
 * it that is nearest to absmax / largest |value|, at least 1 where the group is not zero. Codes belong to the product of both.
 * @param x [to - from, cols]; `place.survey` for one parent a tensor, where the tile is a part of the matrix
 */
export function quantizeNestedTable(x: Float32Array, place: TilePlace, options: NestedTableOptions): QuantizedTile {
  checkRows(x, place);
  const { name, shape, from, to } = place;
  const cols = shape[1];
  const { group, scaleBits, scaleType, search, weights } = options;
  checkWeights(weights, cols, name);
  const grid = scalarGrid(options.grid);
  const table = nearestTable(grid);
  const { per, run } = runsOf({ group }, x, place);
  const most = 2 ** scaleBits - 1;
  const whole = options.per === 'tensor' ? tensorAbsmax(x, place) : undefined;
  const across = cols / run;

  const codes = new Uint8Array(x.length); // [to - from, cols]
  const integers = new Int16Array(x.length / run); // [to - from, cols / group]
  const values = new Float32Array(integers.length);
  const parents = new Float32Array(whole === undefined ? to - from : 1);
  for (let row = 0, at = 0; row < to - from; row++, at += cols) {
    const reach = whole ?? absmaxOf(x, at, at + cols);
    const parent = storedScale(reach / table.largest / most, scaleType, () => `${name}, row ${from + row}`);
    parents[whole === undefined ? row : 0] = parent;
    for (let level = row * across, start = at; start < at + cols; level++, start += run) {
      const integer = parent === 0 ? 0 : integerScale(start, parent);
      integers[level] = integer;
      values[level] = integer * parent;
      encodeRun(table, x, start, start + run, values[level]!, { compute: 'f64', divide: 'divide' }, codes);
    }
  }
  const shared: Levels['per'] = { rows: whole === undefined ? 1 : 0, cols: 0 };
  const parent: Levels = { values: parents, stored: scaleType, per: shared };
  const scale: Levels = { values, stored: { bits: scaleBits }, per, codes: integers, parent };
  return { name, shape, from, to, grid, codes, scale };

  function integerScale(start: number, parent: number): number {
    const absmax = absmaxOf(x, start, start + run);
    if (absmax === 0) return 0;
    const nearest = Math.min(Math.max(Math.round(absmax / table.largest / parent), 1), most);
    if (!search) return nearest;
    const errorAt = (integer: number) =>
      runError(table, x, start, start + run, Math.fround(integer * parent), weights, start % cols);
    let best = nearest;
    let least = errorAt(nearest);
    const last = Math.min(most, Math.ceil(nearest * REACH.above));
    for (let integer = Math.max(1, Math.floor(nearest * REACH.below)); integer <= last; integer++) {
      const error = errorAt(integer);
      if (error >= least) continue;
      best = integer;
      least = error;
    }
    return best;
  }
}
