/**
 * Storable levels moved downhill in the loss of their row: codes of levels under their unit one at a time, then units. Rounding
 * fitted levels to the nearest storable ones ignores that groups make up for each other; this does not.
 * Slow and obvious; see kernels/assembly/stored_levels.ts.
 */
import { floatTypes } from '../../numeric/float.ts';
import { nearestCode } from './fit-units.ref.ts';
import type { LevelSystem } from './level-system.ref.ts';
import type { LevelRange, StoredLevels } from './stored-levels.ts';

/**
 * Changes the levels of a row in place; the loss never grows. Units keep their sign.
 * @param slope [size], half the gradient at these levels; kept up to date
 * @param levels its scales, then its minima
 * @returns by how much the loss fell
 */
export function descendLevels(
  { groups, size, matrix }: LevelSystem,
  slope: Float64Array,
  levels: StoredLevels,
  { unit: type, lowest, highest }: LevelRange,
  sweeps: number,
): number {
  const { units, codes, values } = levels;
  const shared = size / units.length;
  const round = floatTypes[type].round;
  let gained = 0;

  /** Moves levels[from .. from + deltas.length] if the loss falls by it. */
  const tryMove = (from: number, deltas: readonly number[]): boolean => {
    let change = 0;
    for (let a = 0; a < deltas.length; a++) {
      let curved = 0;
      for (let b = 0; b < deltas.length; b++) curved += matrix[(from + a) * size + from + b]! * deltas[b]!;
      change += deltas[a]! * (2 * slope[from + a]! + curved);
    }
    if (!(change < 0)) return false;
    gained -= change;
    for (let a = 0; a < deltas.length; a++)
      for (let j = 0, at = (from + a) * size; j < size; j++, at++) slope[j]! += deltas[a]! * matrix[at]!;
    return true;
  };

  const descendCode = (i: number) => {
    const unit = units[Math.floor(i / shared)]!;
    const curvature = matrix[i * (size + 1)]!;
    if (unit === 0 || !(curvature > 0)) return;
    const code = nearestCode((values[i]! - slope[i]! / curvature) / unit, lowest, highest);
    const value = Math.fround(unit * code);
    if (code === codes![i] || !tryMove(i, [value - values[i]!])) return;
    codes![i] = code;
    values[i] = value;
  };

  const descendUnit = (from: number) => {
    const at = from / shared;
    const code = (i: number) => (codes ? codes[i]! : 1);
    let along = 0;
    let curvature = 0;
    for (let a = from; a < from + shared; a++) {
      along += code(a) * slope[a]!;
      for (let b = from; b < from + shared; b++) curvature += code(a) * matrix[a * size + b]! * code(b);
    }
    if (!(curvature > 0)) return;
    const held = units[at]!;
    const unit = round(held - along / curvature);
    if (unit === held || !(unit * held > 0) || !Number.isFinite(unit)) return;
    const moved = Array.from({ length: shared }, (_, a) => Math.fround(unit * code(from + a)));
    if (
      !tryMove(
        from,
        moved.map((value, a) => value - values[from + a]!),
      )
    )
      return;
    units[at] = unit;
    values.set(moved, from);
  };

  for (let sweep = 0; sweep < sweeps; sweep++) {
    const before = gained;
    for (let first = 0; first < size; first += groups) {
      if (codes) for (let i = first; i < first + groups; i++) descendCode(i);
      for (let from = first; from < first + groups; from += shared) descendUnit(from);
    }
    if (gained === before) break;
  }
  return gained;
}
