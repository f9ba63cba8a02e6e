/** What a split takes out of a matrix before the rest is quantized. */
import { RecipeError } from '../../errors.ts';
import { valuesBefore } from '../../quantized/quota.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import type { TilePlace } from '../quantize-matrix.ts';
import { storedValue } from '../stored-value.ts';

type Sparse = NonNullable<QuantizedTile['sparse']>;
type Columns = NonNullable<QuantizedTile['columns']>;

/** How what is kept apart is stored. */
export const APART = 'f16';

/** Values of each row that stay, on average: rows take turns where it is no whole number (`valuesBefore`). */
export function sparsePerRow(share: number, cols: number): number {
  return Math.round(share * cols * 1e6) / 1e6 || 1e-6;
}

/**
 * The columns of the values with the largest scores, row after row and in order of column; equal scores go to the lower column. How
 * many of a row follows from its number in the matrix, so that tiles agree and bytes are known before any value is.
 * @param score [to - from, cols]
 */
export function outlierPlaces(score: Float32Array, { shape, from, to }: TilePlace, perRow: number): Int32Array {
  const cols = shape[1];
  const before = valuesBefore(perRow, from);
  const col = new Int32Array(valuesBefore(perRow, to) - before);
  for (let r = from; r < to; r++) {
    const line = score.subarray((r - from) * cols, (r - from + 1) * cols);
    const at = valuesBefore(perRow, r);
    col.set(largest(line, valuesBefore(perRow, r + 1) - at), at - before);
  }
  return col;
}

/**
 * The values in these columns.
 * @param x [to - from, cols]
 * @param col as `outlierPlaces` gives them
 * @throws NumericError for values that f16 does not hold
 */
export function outliersOf(x: Float32Array, col: Int32Array, { name, shape, from, to }: TilePlace, perRow: number): Sparse {
  const cols = shape[1];
  const row = new Int32Array(col.length);
  const value = new Float32Array(col.length);
  const before = valuesBefore(perRow, from);
  for (let r = from; r < to; r++) {
    for (let i = valuesBefore(perRow, r) - before; i < valuesBefore(perRow, r + 1) - before; i++) {
      row[i] = r - from;
      value[i] = storedValue(APART, x[(r - from) * cols + col[i]!]!, 'an outlier', name);
    }
  }
  return { row, col, value, stored: APART };
}

/** The columns whose inputs are largest, in order. @param absmax [cols] */
export function outlierColumns(
  x: Float32Array,
  absmax: Float32Array | undefined,
  cols: number,
  count: number,
  name: string,
): Columns {
  if (!absmax) {
    throw new RecipeError({
      what: 'outlier columns are chosen by the largest inputs, and no statistics say them',
      where: name,
      next: 'calibrate (a model with text), or give --stats with absmax',
    });
  }
  if (count >= cols) {
    throw new RecipeError({ what: 'more outlier columns than columns', where: name, value: count, limit: cols - 1 });
  }
  const index = largest(absmax, count);
  const value = new Float32Array((x.length / cols) * count);
  for (let r = 0; r * cols < x.length; r++) {
    for (const [j, c] of index.entries()) value[r * count + j] = storedValue(APART, x[r * cols + c]!, 'an outlier column', name);
  }
  return { index, value, stored: APART };
}

/** A copy of x in which what is kept apart is 0, so that it does not widen the range of the rest. */
export function withoutApart(x: Float32Array, cols: number, sparse?: Sparse, columns?: Columns): Float32Array {
  const rest = x.slice();
  if (sparse) for (let i = 0; i < sparse.col.length; i++) rest[sparse.row[i]! * cols + sparse.col[i]!] = 0;
  if (columns) for (let at = 0; at < rest.length; at += cols) for (const c of columns.index) rest[at + c] = 0;
  return rest;
}

/** Places of the `count` largest values, ascending. */
function largest(values: Float32Array, count: number): Int32Array {
  if (count === 0) return new Int32Array(0);
  const order = Int32Array.from(values, (_, i) => i).sort((a, b) => values[b]! - values[a]! || a - b);
  return order.slice(0, count).sort();
}
