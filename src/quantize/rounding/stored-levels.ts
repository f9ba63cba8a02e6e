/**
 * Levels that a container can store, moved downhill in the loss of their row: codes of levels under their unit one at a time, then
 * units. Rounding fitted levels to the nearest storable ones ignores that groups make up for each other; this does not.
 */
import { roundF16 } from '../../numeric/f16.ts';
import { type LevelSystem, relaxLevels, systemLoss, systemSlope } from './refit.ts';

/** The scales or the minima of one row: value = f32(unit * code), or the unit itself, an f16 each. */
export interface StoredLevels {
  /** [levels / levels of a unit] */
  units: Float32Array;
  /** [levels]; absent where units are the levels. */
  codes?: Int16Array;
  /** [levels] */
  values: Float32Array;
  /** Of codes. */
  lowest: number;
  highest: number;
  /** To the type that units are stored in; default f16. */
  round?(unit: number): number;
}

/** The nearest storable levels. wished, weights: [size], scales then minima; gives the scales, then the minima. */
export type StoreLevels = (wished: Float64Array, weights: Float64Array) => StoredLevels[];

/**
 * The levels of a row for its codes: fitted together, stored, and moved downhill from there; or, where that is not lower than they
 * were, moved downhill from where they are. Never worse than `current`.
 * @param current the row's scales, then its minima; may be changed
 * @param highest upper bound of the minima
 */
export function refitRow(system: LevelSystem, current: StoredLevels[], store: StoreLevels, highest?: number): StoredLevels[] {
  const fitted = valuesOf(current);
  relaxLevels(system, fitted, highest);
  const weights = Float64Array.from(fitted, (_, i) => system.matrix[i * (system.size + 1)]);
  const stored = store(fitted, weights);
  descendLevels(system, stored);
  if (systemLoss(system, valuesOf(stored)) < systemLoss(system, valuesOf(current))) return stored;
  descendLevels(system, current);
  return current;
}

function valuesOf(sets: readonly StoredLevels[]): Float64Array {
  return Float64Array.from(sets.flatMap(({ values }) => [...values]));
}

/**
 * Changes the levels in place; the loss never grows. Units keep their sign.
 * @param sets the row's scales, then its minima: together the levels of the system
 * @returns by how much the loss fell
 */
export function descendLevels(system: LevelSystem, sets: readonly StoredLevels[], sweeps = 4): number {
  const { size, matrix } = system;
  const slope = systemSlope(system, valuesOf(sets));
  let gained = 0;

  /** Moves levels[from .. from + deltas.length] if the loss falls by it. */
  const tryMove = (from: number, deltas: readonly number[]): boolean => {
    let change = 0;
    for (let a = 0; a < deltas.length; a++) {
      let curved = 0;
      for (let b = 0; b < deltas.length; b++) curved += matrix[(from + a) * size + from + b] * deltas[b];
      change += deltas[a] * (2 * slope[from + a] + curved);
    }
    if (!(change < 0)) return false;
    gained -= change;
    for (let a = 0; a < deltas.length; a++) {
      if (deltas[a] === 0) continue;
      for (let j = 0, at = (from + a) * size; j < size; j++, at++) slope[j] += deltas[a] * matrix[at];
    }
    return true;
  };

  for (let sweep = 0; sweep < sweeps; sweep++) {
    const before = gained;
    let first = 0;
    for (const set of sets) {
      descendCodes(system, set, first, slope, tryMove);
      descendUnits(system, set, first, slope, tryMove);
      first += set.values.length;
    }
    if (gained === before) break;
  }
  return gained;
}

type TryMove = (from: number, deltas: readonly number[]) => boolean;

function descendCodes(
  { size, matrix }: LevelSystem,
  set: StoredLevels,
  first: number,
  slope: Float64Array,
  tryMove: TryMove,
): void {
  const { units, codes, values, lowest, highest } = set;
  if (!codes) return;
  const shared = codes.length / units.length;
  for (let i = 0; i < codes.length; i++) {
    const unit = units[Math.floor(i / shared)];
    const curvature = matrix[(first + i) * (size + 1)];
    if (unit === 0 || !(curvature > 0)) continue;
    const best = values[i] - slope[first + i] / curvature;
    const code = Math.max(lowest, Math.min(highest, Math.round(best / unit)));
    const value = Math.fround(unit * code);
    if (code === codes[i] || !tryMove(first + i, [value - values[i]])) continue;
    codes[i] = code;
    values[i] = value;
  }
}

function descendUnits(
  { size, matrix }: LevelSystem,
  set: StoredLevels,
  first: number,
  slope: Float64Array,
  tryMove: TryMove,
): void {
  const { units, codes, values } = set;
  const shared = values.length / units.length;
  for (let u = 0; u < units.length; u++) {
    const from = first + u * shared;
    const code = (a: number) => (codes ? codes[u * shared + a] : 1);
    let along = 0;
    let curvature = 0;
    for (let a = 0; a < shared; a++) {
      along += code(a) * slope[from + a];
      for (let b = 0; b < shared; b++) curvature += code(a) * matrix[(from + a) * size + from + b] * code(b);
    }
    if (!(curvature > 0)) continue;
    const unit = (set.round ?? roundF16)(units[u] - along / curvature);
    if (unit === units[u] || unit * units[u] <= 0 || !Number.isFinite(unit)) continue;
    const moved = Array.from({ length: shared }, (_, a) => Math.fround(unit * code(a)));
    if (
      !tryMove(
        from,
        moved.map((value, a) => value - values[u * shared + a]),
      )
    )
      continue;
    units[u] = unit;
    values.set(moved, u * shared);
  }
}
