/** What SpQR asks of a whole matrix and its Hessian before it rounds: which inputs are dead, and how large an error makes an outlier. */
import { RecipeError } from '../../errors.ts';
import type { Factor } from '../rounding/factor.ts';

/** What the factorization has to leave of a Hessian: which inputs are dead then no longer shows. */
export interface DeadLast {
  /** [cols, cols] */
  hessian: Float32Array;
  /** [cols], for the factor. */
  dead: Uint8Array;
}

/**
 * SpQR damps before it repairs dead inputs, and orders before both, so that they come last; factorizing does the reverse (GPTQ). A
 * diagonal next to 0 in their place gives SpQR's order and damp: `{ ...factorizeHere(kernels, hessian, options), dead }`.
 * @param hessian [cols, cols]
 */
export function deadInputsLast(hessian: Float32Array): DeadLast {
  const cols = Math.round(Math.sqrt(hessian.length));
  const changed = hessian.slice();
  const dead = Uint8Array.from({ length: cols }, (_, i) => (hessian[i * cols + i] === 0 ? 1 : 0));
  for (let i = 0; i < cols; i++) if (dead[i]) changed[i * cols + i] = 2 ** -126;
  return { hessian: changed, dead };
}

/** Sums of w and w² by columns, [2, cols]: those of tiles add up to those of a matrix. x: [rows, cols] */
export function columnMoments(x: Float32Array, cols: number): Float64Array {
  const sums = new Float64Array(2 * cols);
  for (let at = 0; at < x.length; at++) {
    sums[at % cols]! += x[at]!;
    sums[cols + (at % cols)]! += x[at]! * x[at]!;
  }
  return sums;
}

/** relative x the mean over columns of var(w) / U_kk², U_kk = 1 / R_kk. moments: of all `rows` of the matrix */
export function spqrThreshold(
  moments: Float64Array,
  rows: number,
  { cols, order, dead, roots }: Factor,
  relative: number,
): number {
  if (relative === Number.POSITIVE_INFINITY) return relative;
  if (!(relative > 0))
    throw new RecipeError({ what: 'not a relative threshold', value: relative, next: 'use a positive number, such as 0.2' });
  let sum = 0;
  for (let k = 0; k < cols; k++) {
    const c = order[k]!;
    if (dead[c]) continue;
    const variance = (moments[cols + c]! - moments[c]! ** 2 / rows) / Math.max(1, rows - 1);
    sum += variance * roots[k]! ** 2;
  }
  return (relative * sum) / cols;
}
