/**
 * Levels fitted to given codes: all scales (and minima) of a row together, so that its loss is least. Without the Hessian's
 * coupling between groups this is the least squares of each group; with it, groups make up for each other's errors.
 * Slow and obvious; see kernels/assembly/refit.ts.
 */
import { floatTypes } from '../../numeric/float.ts';
import { descendLevels } from './descend-levels.ref.ts';
import { fitUnits, storableHalf } from './fit-units.ref.ts';
import { type LevelSystem, lossChange, slopeAt } from './level-system.ref.ts';
import type { LevelRange, StoredLevels } from './stored-levels.ts';

/** Sweeps end when one gains less than this share of what all before gained: rounding to storable levels costs more. */
const enough = 1e-4;
/**
 * Scale and minimum mean the same (all codes of the group are equal) where the determinant of their two equations is below this
 * share of the diagonal's product; sums in f32 know it to about 1e-6.
 */
const singular = 1e-5;

/** Sweeps of the fit, and of the descent among storable levels. */
export const refitSweeps = { fit: 20, stored: 4 };

/**
 * The levels of a row for its codes: fitted together, stored, and moved downhill from there; or, where that is not lower than they
 * were, moved downhill from where they are. Never worse than before.
 * @param levels of the row, its scales then its minima; changed in place
 */
export function refitRow(system: LevelSystem, levels: StoredLevels, range: LevelRange): void {
  const { groups, size, matrix } = system;
  const fitted = Float64Array.from(levels.values);
  relaxLevels(system, fitted, range.highestMinimum);
  const wished = Float32Array.from(fitted, (x, i) => (i < groups ? x : Math.min(x, range.highestMinimum)));
  const weights = Float32Array.from(wished, (_, i) => matrix[i * (size + 1)]!);
  const stored = storeLevels(wished, weights, levels, range);
  const change = () => Float64Array.from(stored.values, (value, i) => value - levels.values[i]!);
  const slope = slopeAt(system, change());
  descendLevels(system, slope, stored, range, refitSweeps.stored);
  const better = lossChange(system, change(), slope) < 0;
  if (!better) descendLevels(system, system.slope.slice(), levels, range, refitSweeps.stored);
  else for (const kind of ['units', 'codes', 'values'] as const) levels[kind]?.set(stored[kind]!);
}

/** The nearest storable levels. */
function storeLevels(wished: Float32Array, weights: Float32Array, current: StoredLevels, range: LevelRange): StoredLevels {
  if (current.codes) {
    const shared = wished.length / current.units.length;
    const stored = { units: current.units.slice(), codes: current.codes.slice(), values: wished.slice() };
    fitUnits(wished, weights, { ...range, shared }, stored);
    return stored;
  }
  const round = range.unit === 'f16' ? storableHalf : floatTypes[range.unit].round;
  const values = wished.map((wish, i) => {
    const unit = round(wish);
    return range.keepsSigns && !(unit * current.values[i]! > 0) ? current.values[i]! : unit;
  });
  return { units: values, values };
}

/**
 * Moves levels downhill: sweeps over the groups, scale and minimum of one group together. It starts from the levels there are and
 * never climbs, so that no ridge is needed where the system is singular: groups without inputs or codes keep theirs.
 * @param levels [size], where the slope of the system is taken; changed in place
 * @param highest upper bound of the minima
 */
export function relaxLevels(
  system: LevelSystem,
  levels: Float64Array,
  highest = Number.POSITIVE_INFINITY,
  sweeps = refitSweeps.fit,
): void {
  const { groups, size, matrix } = system;
  // Only a wish comes of it: f32 will do.
  const slope = Float32Array.from(system.slope);
  const move = (i: number, delta: number) => {
    levels[i]! += delta;
    const factor = Math.fround(delta);
    for (let j = 0, at = i * size; j < size; j++, at++) slope[j]! += Math.fround(factor * matrix[at]!);
  };
  let total = 0;
  for (let sweep = 0; sweep < sweeps; sweep++) {
    let gain = 0;
    for (let g = 0; g < groups; g++) {
      const ss = matrix[g * size + g]!;
      const a = slope[g]!;
      if (size === groups) {
        const ds = ss > 0 ? -a / ss : 0;
        gain += ss * ds * ds;
        move(g, ds);
        continue;
      }
      const m = groups + g;
      const sm = matrix[g * size + m]!;
      const mm = matrix[m * size + m]!;
      const b = slope[m]!;
      const minimum = levels[m]!;
      const determinant = ss * mm - sm * sm;
      const regular = determinant > singular * ss * mm;
      let dm = regular ? (sm * a - ss * b) / determinant : 0;
      let ds = regular ? (sm * b - mm * a) / determinant : 0;
      if (!regular || minimum + dm > highest) {
        // At the bound the scale is fitted alone.
        dm = regular ? highest - minimum : Math.min(0, highest - minimum);
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
