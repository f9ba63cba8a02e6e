import { NumericError } from '../errors.ts';

/**
 * Refuses NaN and infinities.
 * @param x [rows, cols], the rows from `fromRow` on of the tensor `name`
 * @throws NumericError with the place of the first one and how many there are
 */
export function checkFinite(x: Float32Array, name: string, fromRow: number, cols: number): void {
  let first = -1;
  let count = 0;
  for (let i = 0; i < x.length; i++) {
    // Infinity - Infinity and NaN - NaN are NaN.
    if (x[i]! - x[i]! !== 0) {
      if (count++ === 0) first = i;
    }
  }
  if (count === 0) return;
  const row = fromRow + Math.floor(first / cols);
  throw new NumericError({
    what: `${count} of ${x.length} values are NaN or infinite, the first at row ${row}, column ${first % cols}`,
    where: name,
    value: `${x[first]}`,
    next: 'repair the checkpoint, or keep this tensor as it is',
  });
}
