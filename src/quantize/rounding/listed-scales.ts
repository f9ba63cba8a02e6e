/** Scales that can be stored as values of a list only: multiples of a float that does not move, 8-bit floats, powers of two. */
import type { LeveledRows } from './leveled-rows.ts';

export interface ListedScales {
  /** Ascending, all above 0: [count], or [rows, count] where each row has its own. */
  list: Float32Array;
  count: number;
}

/** What the scale multiplies in each cell, [rows, cols]; 0 where a cell is kept. */
export function multiplied({ rows, cols, codes, values, entries = 0, kept }: LeveledRows): Float32Array {
  const out = new Float32Array(rows * cols);
  for (let r = 0, at = 0; r < rows; r++)
    for (let c = 0; c < cols; c++, at++) if (!kept?.mask[at]) out[at] = values[r * entries + codes[at]!]!;
  return out;
}

/** Where values of a list stand in it; what is not above 0 stands nowhere, -1. values: [rows, groups] */
export function placesIn({ list, count }: ListedScales, values: Float32Array, groups: number): Int32Array {
  return Int32Array.from(values, (value, i) => {
    const own = list.length > count ? list.subarray(Math.floor(i / groups) * count, (Math.floor(i / groups) + 1) * count) : list;
    return value > 0 ? own.indexOf(value) : -1;
  });
}
