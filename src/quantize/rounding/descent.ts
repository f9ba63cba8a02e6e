/**
 * Coordinate descent on codes: column after column, each weight goes to the code that is best given all others of its row
 * (as in QuantEase, Behdin et al., arXiv 2309.01885, equation 5, but from a solution of error feedback and within fixed levels).
 */
import { checkRows, decodeRow, type LeveledRows } from './leveled-rows.ts';
import { slowMath } from './refine-math.ref.ts';
import type { DescentState, RefineMath } from './refine-math.ts';

export interface DescentOptions {
  /** Passes over the columns; ends before when one changes nothing (default 4). */
  sweeps?: number;
  math?: RefineMath;
}

/**
 * Changes codes in place. The loss of no row grows: a code changes only where the quadratic falls, by
 * delta² H_kk + 2 delta (H e)_k < 0.
 * @param w [rows, cols]
 * @param hessian [cols, cols], of the columns in the order of the rows
 * @returns how many codes were changed
 */
export function descend(
  w: Float32Array,
  quantized: LeveledRows,
  hessian: Float32Array,
  { sweeps = 4, math = slowMath }: DescentOptions = {},
): number {
  return math.descend(descentState(w, quantized, hessian, math), hessian, sweeps);
}

/** Where rows stand: one product of all rows with H. */
export function descentState(w: Float32Array, rows: LeveledRows, hessian: Float32Array, math: RefineMath): DescentState {
  checkRows(w, hessian, rows);
  const { cols } = rows;
  const decoded = new Float32Array(w.length);
  for (let r = 0; r < rows.rows; r++) decodeRow(rows, r, decoded.subarray(r * cols, (r + 1) * cols));
  const errors = new Float32Array(w.length);
  for (let i = 0; i < w.length; i++) errors[i] = decoded[i]! - w[i]!;
  return { rows, decoded, gradient: math.product(errors, hessian, cols) };
}
