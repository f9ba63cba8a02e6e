/**
 * Feedback on columns that are divided by factors: w' = w / c, H' = diag(c) H diag(c). Where H = R R' also H' = (c R) (c R)', so that
 * the factor of H' needs no factorization: S'_jk = S_jk c_j / c_k, diag(R') = c diag(R). The damp is that of H.
 */
import { type Factor, TILE, tileOffset, tilesOf } from './factor.ts';

/** column: [cols], in the columns' own order, all above 0 */
export function scaledFactor(factor: Factor, column: Float32Array): Factor {
  const { cols, order, matrix, roots } = factor;
  const tiles = tilesOf(cols);
  const scaled = matrix.slice();
  const ordered = new Float32Array(tiles * TILE).fill(1);
  for (const [k, c] of order.entries()) ordered[k] = column[c]!;
  for (let i = 0; i < tiles; i++) {
    for (let j = i; j < tiles; j++) {
      const first = tileOffset(tiles, i, j);
      for (let k = 0; k < TILE; k++) {
        // [16][128 rows][8 columns]
        const at = first + (k >> 3) * TILE * 8 + (k & 7);
        const inverse = 1 / ordered[j * TILE + k]!;
        for (let r = 0; r < TILE; r++) scaled[at + r * 8]! *= ordered[i * TILE + r]! * inverse;
      }
    }
  }
  return { ...factor, matrix: scaled, roots: roots.map((root, k) => root * ordered[k]!) };
}

/** diag(c) H diag(c), a copy. hessian: [cols, cols] */
export function scaledHessian(hessian: Float32Array, column: Float32Array): Float32Array {
  const cols = column.length;
  const scaled = new Float32Array(hessian.length);
  for (let i = 0, at = 0; i < cols; i++) for (let j = 0; j < cols; j++, at++) scaled[at] = hessian[at]! * column[i]! * column[j]!;
  return scaled;
}
