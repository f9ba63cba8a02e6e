/** The loss of a row as a function of its levels, slow and obvious. See kernels/assembly/level_system.ts. */
import type { LeveledRows } from './leveled-rows.ts';

/** For levels t = [scales, minima] that differ by d from those there are: loss(t) = loss + 2 slope' d + d' matrix d. */
export interface LevelSystem {
  groups: number;
  /** Levels of the row: as many as groups, or twice as many with minima. */
  size: number;
  /** [size, size], symmetric: sums of x_i H_ij x_j over pairs of groups, where x is the value of a code, and 1 for a minimum. */
  matrix: Float32Array;
  /** [size], half the gradient at the levels there are */
  slope: Float64Array;
}

/**
 * @param rows all with the same values; without minima where cells are kept
 * @param gradient H (ŵ - w), [rows, cols]
 * @param hessian [cols, cols]
 */
export function levelSystem(
  { cols, group, codes, values, mins, kept }: LeveledRows,
  gradient: Float32Array,
  hessian: Float32Array,
  row: number,
): LevelSystem {
  const groups = cols / group;
  const size = mins ? 2 * groups : groups;
  const x = Float64Array.from(codes.subarray(row * cols, (row + 1) * cols), (code, c) =>
    kept?.mask[row * cols + c] ? 0 : values[code]!,
  );
  const matrix = new Float64Array(size * size);
  const slope = new Float64Array(size);
  for (let i = 0, at = 0; i < cols; i++) {
    const g = Math.floor(i / group);
    slope[g]! += x[i]! * gradient[row * cols + i]!;
    if (mins) slope[groups + g]! += gradient[row * cols + i]!;
    for (let j = 0; j < cols; j++, at++) {
      const h = Math.floor(j / group);
      const product = x[i]! * hessian[at]!;
      matrix[g * size + h]! += product * x[j]!;
      if (!mins) continue;
      matrix[g * size + groups + h]! += product;
      matrix[(groups + h) * size + g]! += product;
      matrix[(groups + g) * size + groups + h]! += hessian[at]!;
    }
  }
  return { groups, size, matrix: Float32Array.from(matrix), slope };
}

/** slope + matrix d: half the gradient d away. */
export function slopeAt({ size, matrix, slope }: LevelSystem, d: ArrayLike<number>): Float64Array {
  const moved = slope.slice();
  for (let i = 0, at = 0; i < size; i++) for (let j = 0; j < size; j++, at++) moved[j]! += d[i]! * matrix[at]!;
  return moved;
}

/** loss(t) - loss, d away: d' (slope there + slope here). */
export function lossChange(system: LevelSystem, d: ArrayLike<number>, there = slopeAt(system, d)): number {
  let sum = 0;
  for (let i = 0; i < system.size; i++) sum += d[i]! * (there[i]! + system.slope[i]!);
  return sum;
}
