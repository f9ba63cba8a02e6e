/** `g_idx`: the group of each column, i32 [cols]. In activation order columns of a group are not neighbours. */
import { FormatError } from '../errors.ts';
import type { Sharing } from '../quantized/types.ts';

export function packGroupIndex(per: Sharing, cols: number, group: number): Uint8Array {
  const index = 'groupOf' in per ? per.groupOf : Int32Array.from({ length: cols }, (_, c) => Math.floor(c / group));
  return new Uint8Array(index.slice().buffer);
}

/**
 * @param group columns of a group
 * @returns [cols]
 * @throws FormatError unless each of the cols / group groups has `group` columns
 */
export function readGroupIndex(bytes: Uint8Array, cols: number, group: number, where: string): Int32Array {
  const index = new Int32Array(bytes.slice().buffer);
  const groups = cols / group;
  const counts = new Int32Array(groups);
  for (const [column, g] of index.entries()) {
    if (g < 0 || g >= groups) {
      throw new FormatError({
        what: `g_idx names a group that is not there, at column ${column}`,
        where,
        value: g,
        limit: `0..${groups - 1}`,
        next: 'the file is damaged; make it again',
      });
    }
    counts[g]!++;
  }
  const uneven = counts.findIndex((count) => count !== group);
  if (uneven < 0) return index;
  throw new FormatError({
    what: `g_idx does not give group ${uneven} its columns`,
    where,
    value: counts[uneven],
    limit: group,
    next: 'the file is damaged; make it again',
  });
}

/** Whether columns are in groups one after another, as without activation order. */
export function isSequential(index: Int32Array, group: number): boolean {
  return index.every((g, column) => g === Math.floor(column / group));
}
