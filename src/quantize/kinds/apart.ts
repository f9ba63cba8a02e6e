/** What a split takes out of a matrix before the rest is quantized. */
import { RecipeError } from '../../errors.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { storedValue } from '../stored-value.ts';

type Sparse = NonNullable<QuantizedTile['sparse']>;
type Columns = NonNullable<QuantizedTile['columns']>;

/** How what is kept apart is stored. */
export const APART = 'f16';

/** Values of each row that stay: at least one. */
export function sparsePerRow(share: number, cols: number): number {
  return Math.max(1, Math.floor(share * cols));
}

/**
 * The `perRow` values of each row with the largest scores, in order of column; equal scores go to the lower column.
 * @param x and score [rows, cols]
 * @throws NumericError for values that f16 does not hold
 */
export function outliersOf(x: Float32Array, score: Float32Array, cols: number, perRow: number, name: string): Sparse {
  const rows = x.length / cols;
  const row = new Int32Array(rows * perRow);
  const col = new Int32Array(rows * perRow);
  const value = new Float32Array(rows * perRow);
  for (let r = 0; r < rows; r++) {
    const line = score.subarray(r * cols, (r + 1) * cols);
    const kept = largest(line, perRow);
    for (const [i, c] of kept.entries()) {
      row[r * perRow + i] = r;
      col[r * perRow + i] = c;
      value[r * perRow + i] = storedValue(APART, x[r * cols + c]!, 'an outlier', name);
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
  const order = Int32Array.from(values, (_, i) => i).sort((a, b) => values[b]! - values[a]! || a - b);
  return order.slice(0, count).sort();
}
