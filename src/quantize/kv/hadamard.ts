/** The Hadamard matrix of a power of two (Sylvester's), normalized: symmetric, orthogonal, its own inverse. */
import { RecipeError } from '../../errors.ts';

/** x: rows of `n` values; each becomes x H / sqrt(n), in place and in f32. */
export function rotateRows(x: Float32Array, n: number): Float32Array {
  checkPower(n);
  const norm = Math.fround(1 / Math.sqrt(n));
  for (let row = 0; row < x.length; row += n) {
    for (let half = 1; half < n; half *= 2) {
      for (let start = row; start < row + n; start += 2 * half) {
        for (let i = start; i < start + half; i++) {
          const [a, b] = [x[i]!, x[i + half]!];
          x[i] = a + b;
          x[i + half] = a - b;
        }
      }
    }
    for (let i = row; i < row + n; i++) x[i]! *= norm;
  }
  return x;
}

/** The matrix itself, [n, n]. */
export function sylvester(n: number): Float32Array {
  checkPower(n);
  const matrix = new Float32Array(n * n);
  for (let i = 0; i < n; i++) matrix[i * n + i] = 1;
  return rotateRows(matrix, n);
}

function checkPower(n: number): void {
  if (!Number.isInteger(n) || n < 1 || !Number.isInteger(Math.log2(n)))
    throw new RecipeError({ what: 'a Hadamard matrix of this form needs a power of two', value: n });
}
