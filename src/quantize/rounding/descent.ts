/**
 * Coordinate descent on codes: column after column, each weight goes to the code that is best given all others of its row
 * (as in QuantEase, Behdin et al., arXiv 2309.01885, equation 5, but from a solution of error feedback and within fixed levels).
 */
import { checkRows, decodeRow, errorsOf, type LeveledRows, type SymmetricProduct, symmetricProduct } from './leveled-rows.ts';

export interface DescentOptions {
  /** Passes over the columns; ends before when one changes nothing (default 4). */
  sweeps?: number;
  product?: SymmetricProduct;
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
  { sweeps = 4, product = symmetricProduct }: DescentOptions = {},
): number {
  checkRows(w, hessian, quantized);
  const { rows, cols, group, codes, values, scales, mins } = quantized;
  const gradient = Float64Array.from(product(errorsOf(w, quantized), hessian, cols)); // H e, [rows, cols]
  const decoded = new Float32Array(rows * cols);
  for (let r = 0; r < rows; r++) decodeRow(quantized, r, decoded.subarray(r * cols, (r + 1) * cols));
  const top = values.length - 1;

  let changed = 0;
  for (let sweep = 0; sweep < sweeps; sweep++) {
    const before = changed;
    for (let k = 0; k < cols; k++) {
      const curvature = hessian[k * cols + k];
      for (let r = 0, at = k; r < rows; r++, at += cols) {
        const slope = gradient[at];
        const g = Math.floor(at / group);
        const scale = scales[g];
        if (scale === 0 || slope === 0) continue;
        const min = mins ? mins[g] : 0;
        // Downhill in x; a negative scale turns the order of the codes.
        const step = slope < 0 === scale > 0 ? 1 : -1;
        let code = codes[at];
        let delta = 0;
        let gain = 0;
        for (let next = code + step; next >= 0 && next <= top; next += step) {
          const moved = Math.fround(Math.fround(scale * values[next]) + min) - decoded[at];
          const change = moved * (moved * curvature + 2 * slope);
          if (change >= gain) break;
          gain = change;
          delta = moved;
          code = next;
        }
        if (delta === 0) continue;
        codes[at] = code;
        decoded[at] += delta;
        changed++;
        for (let j = r * cols, h = k * cols, end = j + cols; j < end; j++, h++) gradient[j] += delta * hessian[h];
      }
    }
    if (changed === before) break;
  }
  return changed;
}
