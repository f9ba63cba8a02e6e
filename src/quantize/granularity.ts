/** Who shares a scale, and where in a tile's levels the shared value of a cell lies. */
import { RecipeError } from '../errors.ts';
import type { Sharing } from '../quantized/types.ts';
import type { Granularity } from './scheme.ts';

export function sharingOf(granularity: Granularity): Sharing {
  if (granularity === 'tensor') return { rows: 0, cols: 0 };
  if (granularity === 'channel') return { rows: 1, cols: 0 };
  return { rows: 1, cols: granularity.group };
}

/**
 * Values of one row that share a scale. RecipeError when a row of `cols` values does not split into whole groups; the
 * message names group sizes that fit.
 */
export function runLength(granularity: Granularity, cols: number, where: string): number {
  if (granularity === 'tensor' || granularity === 'channel') return cols;
  const { group } = granularity;
  if (!Number.isInteger(group) || group < 1) {
    throw new RecipeError({ what: 'not a group size', where, value: group, next: 'use a whole number, or granularity channel' });
  }
  if (cols % group !== 0) {
    const fitting = [256, 128, 64, 32, 16, 8].filter((size) => size < group && cols % size === 0);
    throw new RecipeError({
      what: `rows of ${cols} values do not split into groups of ${group}`,
      where,
      next: `choose ${fitting.length ? `a group of ${fitting.join(', ')}, ` : ''}granularity channel, or keep this tensor as it is`,
    });
  }
  return group;
}

/** Rows [from, to) of a matrix with `cols` columns. */
export interface TileRows {
  from: number;
  to: number;
  cols: number;
}

/** How many values the sharing grid of a tile has. */
export function sharedCount(per: Sharing, { from, to, cols }: TileRows): number {
  if ('groupOf' in per) return (to - from) * groups(per.groupOf);
  if ('flat' in per) return Math.ceil((to * cols) / per.flat) - Math.floor((from * cols) / per.flat);
  const down = per.rows === 0 ? 1 : Math.ceil(to / per.rows) - Math.floor(from / per.rows);
  return down * (per.cols === 0 ? 1 : Math.ceil(cols / per.cols));
}

/** Writes the shared value of every cell of row `row` (counted in the whole matrix) into out [cols]. */
export function spreadRow(values: Float32Array, per: Sharing, tile: TileRows, row: number, out: Float32Array): void {
  const { from, cols } = tile;
  if ('groupOf' in per) {
    const base = (row - from) * groups(per.groupOf);
    for (let c = 0; c < cols; c++) out[c] = values[base + per.groupOf[c]!]!;
    return;
  }
  // Runs of equal values: the first may be cut by the start of the row where runs cross rows.
  const run = 'flat' in per ? per.flat : per.cols === 0 ? cols : per.cols;
  const start = 'flat' in per ? (row * cols) % run : 0;
  let index: number;
  if ('flat' in per) index = Math.floor((row * cols) / run) - Math.floor((from * cols) / run);
  else index = (per.rows === 0 ? 0 : Math.floor(row / per.rows) - Math.floor(from / per.rows)) * Math.ceil(cols / run);
  for (let c = 0, end = run - start; c < cols; index++, end += run) {
    const stop = Math.min(end, cols);
    out.fill(values[index]!, c, stop);
    c = stop;
  }
}

const counted = new WeakMap<Int32Array, number>();

/** Number of groups of an activation order. */
function groups(groupOf: Int32Array): number {
  let count = counted.get(groupOf);
  if (count === undefined) {
    count = groupOf.reduce((most, g) => Math.max(most, g + 1), 0);
    counted.set(groupOf, count);
  }
  return count;
}
