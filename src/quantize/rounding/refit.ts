/**
 * Levels fitted to given codes: all scales (and minima) of a row together, so that its loss is least. Without the Hessian's
 * coupling between groups this is the least squares of each group; with it, groups make up for each other's errors.
 */
import { checkRows, type LeveledRows } from './leveled-rows.ts';
import { slowMath } from './refine-math.ref.ts';
import type { RefineMath } from './refine-math.ts';

/** The loss of a row as a function of its levels t = [scales, minima]: t' matrix t - 2 rhs' t + a constant. */
export interface LevelSystem {
  groups: number;
  /** Levels of the row: as many as groups, or twice as many with minima. */
  size: number;
  /** [size, size], symmetric */
  matrix: Float64Array;
  /** [size] */
  rhs: Float64Array;
}

/** Sums of groups that are held at a time. */
const heldSums = 2 ** 22;

/**
 * The systems of rows, one after another in the same memory: cols² operations a row.
 * @param fed H w, [rows, cols]: it stays the same while codes and levels change
 * @param hessian [cols, cols]
 */
export function* levelSystems(
  fed: Float32Array,
  quantized: LeveledRows,
  hessian: Float32Array,
  math: RefineMath = slowMath,
): Generator<LevelSystem> {
  checkRows(fed, hessian, quantized);
  const { rows, cols, group, mins } = quantized;
  const groups = cols / group;
  const size = mins ? 2 * groups : groups;
  const minima = mins ? minimaSums(hessian, cols, group) : undefined;
  const system: LevelSystem = { groups, size, matrix: new Float64Array(size * size), rhs: new Float64Array(size) };
  const chunk = Math.max(4, Math.min(64, Math.floor(heldSums / groups ** 2)));
  for (let from = 0; from < rows; from += chunk) {
    const to = Math.min(rows, from + chunk);
    const sums = math.groupSums(quantized, hessian, from, to);
    for (let r = 0; r < to - from; r++) {
      const part = (all: Float32Array | Float64Array, g: number) => {
        const at = (r * groups + g) * groups;
        return all.subarray(at, at + groups);
      };
      for (let g = 0; g < groups; g++) {
        system.matrix.set(part(sums.scaled, g), g * size);
        if (!sums.plain || !minima) continue;
        const row = (groups + g) * size;
        system.matrix.set(part(sums.plain, g), row);
        system.matrix.set(minima.subarray(g * groups, (g + 1) * groups), row + groups);
      }
      mirror(system);
      fillRhs(system, fed, quantized, from + r);
      yield system;
    }
  }
}

/** The upper half from the lower. */
function mirror({ size, matrix }: LevelSystem): void {
  for (let a = 0; a < size; a++) for (let b = 0; b < a; b++) matrix[b * size + a] = matrix[a * size + b];
}

function fillRhs(
  { groups, rhs }: LevelSystem,
  fed: Float32Array,
  { cols, group, codes, values, mins }: LeveledRows,
  row: number,
): void {
  rhs.fill(0);
  for (let c = 0, at = row * cols; c < cols; c++, at++) {
    const g = Math.floor(c / group);
    rhs[g] += values[codes[at]] * fed[at];
    if (mins) rhs[groups + g] += fed[at];
  }
}

/** Sums of H over pairs of groups, [groups, groups]: minima meeting minima, the same for all rows. */
function minimaSums(hessian: Float32Array, cols: number, group: number): Float64Array {
  const groups = cols / group;
  const sums = new Float64Array(groups * groups);
  for (let i = 0, at = 0; i < cols; i++) {
    const row = Math.floor(i / group) * groups;
    for (let j = 0; j < cols; j++, at++) sums[row + Math.floor(j / group)] += hessian[at];
  }
  return sums;
}

/** Sweeps end when one gains less than this share of what all before gained: rounding to storable levels costs more. */
const enough = 1e-4;
/**
 * Scale and minimum mean the same (all codes of the group are equal) where the determinant of their two equations is below this
 * share of the diagonal's product; sums in f32 know it to about 1e-6.
 */
const singular = 1e-5;

/**
 * Moves levels downhill: sweeps over the groups, scale and minimum of one group together. It starts from the levels there are and
 * never climbs, so that no ridge is needed where the system is singular: groups without inputs or codes keep theirs.
 * @param levels [size], changed in place
 * @param highest upper bound of the minima (0 where a container subtracts them)
 */
export function relaxLevels(system: LevelSystem, levels: Float64Array, highest = Number.POSITIVE_INFINITY, sweeps = 20): void {
  const { groups, size, matrix } = system;
  const slope = systemSlope(system, levels);
  const move = (i: number, delta: number) => {
    if (delta === 0) return;
    levels[i] += delta;
    for (let j = 0, at = i * size; j < size; j++, at++) slope[j] += delta * matrix[at];
  };
  let total = 0;
  for (let sweep = 0; sweep < sweeps; sweep++) {
    let gain = 0;
    for (let g = 0; g < groups; g++) {
      const ss = matrix[g * size + g];
      const a = slope[g];
      if (size === groups) {
        const ds = ss > 0 ? -a / ss : 0;
        gain += ss * ds * ds;
        move(g, ds);
        continue;
      }
      const m = groups + g;
      const sm = matrix[g * size + m];
      const mm = matrix[m * size + m];
      const b = slope[m];
      const determinant = ss * mm - sm * sm;
      const regular = determinant > singular * ss * mm;
      let dm = regular ? (sm * a - ss * b) / determinant : 0;
      let ds = regular ? (sm * b - mm * a) / determinant : 0;
      if (!regular || levels[m] + dm > highest) {
        // At the bound the scale is fitted alone.
        dm = regular ? highest - levels[m] : Math.min(0, highest - levels[m]);
        ds = ss > 0 ? -(a + dm * sm) / ss : 0;
      }
      gain -= 2 * (a * ds + b * dm) + ss * ds * ds + 2 * sm * ds * dm + mm * dm * dm;
      move(g, ds);
      move(m, dm);
    }
    total += gain;
    if (!(gain > enough * total)) break;
  }
}

/** matrix t - rhs: half the gradient. */
export function systemSlope({ size, matrix, rhs }: LevelSystem, levels: Float64Array): Float64Array {
  const slope = new Float64Array(size);
  for (let i = 0, at = 0; i < size; i++) {
    let sum = -rhs[i];
    for (let j = 0; j < size; j++, at++) sum += matrix[at] * levels[j];
    slope[i] = sum;
  }
  return slope;
}

/** The loss without its constant: t' (slope - rhs). */
export function systemLoss(system: LevelSystem, levels: Float64Array, slope = systemSlope(system, levels)): number {
  let sum = 0;
  for (let i = 0; i < system.size; i++) sum += levels[i] * (slope[i] - system.rhs[i]);
  return sum;
}
