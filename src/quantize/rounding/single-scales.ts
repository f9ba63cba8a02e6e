/** Scales that move one at a time, because no system of a row holds them: values of a list, or scales that zero points hang on. */
import { floatTypes } from '../../numeric/float.ts';
import type { LeveledRows } from './leveled-rows.ts';
import type { LevelRange } from './stored-levels.ts';

/** What a scale can be stored as. */
export type SingleScales =
  /** Ascending, all above 0: [count], or [rows, count] where each row has its own. Multiples of a float, 8-bit floats, powers of two. */
  { list: Float32Array; count: number } | { unit: LevelRange['unit'] };

/** What the scale multiplies in each cell, [rows, cols]; 0 where a cell is kept. */
export function multiplied({ rows, cols, group, codes, values, entries = 0, zeros, kept }: LeveledRows): Float32Array {
  const out = new Float32Array(rows * cols);
  for (let r = 0, at = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++, at++) {
      if (!kept?.mask[at]) out[at] = values[r * entries + codes[at]!]! - (zeros?.[Math.floor(at / group)] ?? 0);
    }
  }
  return out;
}

/** Zero points stay: what is added moves with the scale. */
export function moveMinima({ scales, mins, zeros }: LeveledRows): void {
  if (mins && zeros) for (const [i, zero] of zeros.entries()) mins[i] = -zero * scales[i]!;
}

/** Where values of a list stand in it; what is not above 0 stands nowhere, -1. values: [rows, groups] */
export function placesIn(
  { list, count }: Extract<SingleScales, { list: Float32Array }>,
  values: Float32Array,
  groups: number,
): Int32Array {
  return Int32Array.from(values, (value, i) => {
    const own = list.length > count ? list.subarray(Math.floor(i / groups) * count, (Math.floor(i / groups) + 1) * count) : list;
    return value > 0 ? own.indexOf(value) : -1;
  });
}

/** The storable value nearest to a wish of row r; of two of a list the lower. */
export function nearestScale(scales: SingleScales, r: number, wish: number): number {
  if ('unit' in scales) return floatTypes[scales.unit].round(Math.fround(wish));
  const { list, count } = scales;
  const first = list.length > count ? r * count : 0;
  let place = first;
  while (place + 1 < first + count && wish - list[place]! > list[place + 1]! - wish) place++;
  return list[place]!;
}
