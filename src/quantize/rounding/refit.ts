/**
 * Levels fitted to given codes, all of a row together, in the kernels; refit.ref.ts says what they do. The systems of some rows lie
 * in the arena at a time, and the Hessian passes through it a group of its rows at a time.
 */
import type { Kernels } from '../../kernels/index.ts';
import type { DescentState } from './refine-math.ts';
import { refitSweeps } from './refit.ref.ts';
import { gatherRows, type LevelStorage, scatterRows } from './stored-levels.ts';

/** Bytes of systems that are held at a time, and the rows of the fewest: the lanes of a kernel. */
const heldBytes = 2 ** 26;
const lanes = 8;
/** The most rows at a time: the Hessian is copied once for as many. */
const mostRows = 64;

/** How the kernels name types. */
const roundings = { f32: 0, f16: 1, bf16: 2 };

/** Systems of rows in the arena. */
interface HeldSystems {
  groups: number;
  size: number;
  /** Address of f32[rows][size, size]. */
  matrix: number;
  /** Address of f64[rows][size], at the levels there are. */
  slope: number;
}

/** @see RefineMath.refit; group: a multiple of 4. Leaves what it reserved in the arena. */
export function refitLevels(kernels: Kernels, state: DescentState, hessian: Float32Array, storage: LevelStorage): void {
  const { rows, cols, group, mins } = state.rows;
  const size = (cols / group) * (mins ? 2 : 1);
  const step = Math.max(lanes, Math.min(mostRows, Math.floor(heldBytes / (4 * size * size * lanes)) * lanes));
  const totals = mins && groupTotals(hessian, cols, group);
  for (let from = 0; from < rows; from += step) {
    const to = Math.min(rows, from + step);
    const mark = kernels.mark();
    refitHeld(kernels, levelSystems(kernels, state, hessian, totals, from, to), storage, { rows, from, to });
    kernels.reset(mark);
  }
}

/** Sums of H over the rows of a group. */
export interface GroupTotals {
  /** [groups, cols] */
  columns: Float32Array;
  /** [groups, groups]: over pairs of groups, minima meeting minima, the same for all rows */
  groups: Float32Array;
}

export function groupTotals(hessian: Float32Array, cols: number, group: number): GroupTotals {
  const groups = cols / group;
  const totals = { columns: new Float32Array(groups * cols), groups: new Float32Array(groups * groups) };
  const sums = new Float64Array(cols);
  for (let g = 0, at = 0; g < groups; g++) {
    sums.fill(0);
    for (let i = 0; i < group; i++) for (let j = 0; j < cols; j++, at++) sums[j]! += hessian[at]!;
    totals.columns.set(sums, g * cols);
    for (let h = 0, j = 0; h < groups; h++) {
      let sum = 0;
      for (const end = j + group; j < end; j++) sum += sums[j]!;
      totals.groups[g * groups + h] = sum;
    }
  }
  return totals;
}

/** The systems of rows [from, to), in the arena. */
export function levelSystems(
  kernels: Kernels,
  { rows: quantized, gradient }: DescentState,
  hessian: Float32Array,
  totals: GroupTotals | undefined,
  from: number,
  to: number,
): HeldSystems {
  const { cols, group, codes, values, kept } = quantized;
  const groups = cols / group;
  const size = totals ? 2 * groups : groups;
  const rows = to - from;
  const matrix = kernels.alloc(4 * rows * size * size);
  const slope = kernels.alloc(8 * rows * size);
  const mark = kernels.mark();
  const [codesAt, valuesAt] = [kernels.put(codes.subarray(from * cols, to * cols)), kernels.put(values)];
  const gradientAt = kernels.put(gradient.subarray(from * cols, to * cols));
  const x = kernels.alloc(4 * Math.ceil(rows / lanes) * lanes * cols);
  const panel = kernels.alloc(4 * group * cols);
  kernels.call('spread_codes', codesAt, valuesAt, rows, cols, x);
  if (kept) {
    // What no code stands for hangs on no level.
    const [values, slopes] = [kernels.f32(x, Math.ceil(rows / lanes) * lanes * cols), kernels.f32(gradientAt, rows * cols)];
    for (let at = 0; at < rows * cols; at++) {
      if (!kept.mask[from * cols + at]) continue;
      const r = Math.floor(at / cols);
      values[(Math.floor(r / lanes) * cols + (at % cols)) * lanes + (r % lanes)] = 0;
      slopes[at] = 0;
    }
  }
  kernels.call('level_slopes', gradientAt, codesAt, valuesAt, rows, cols, group, slope, size);
  for (let g = 0; g < groups; g++) {
    loadLower(kernels.f32(panel, group * cols), hessian, cols, group, g);
    kernels.call('scale_sums', panel, x, rows, cols, group, g, matrix, size);
    if (!totals) continue;
    kernels.f32(panel, cols).set(totals.columns.subarray(g * cols, (g + 1) * cols));
    kernels.call('minimum_sums', panel, x, rows, cols, group, g, matrix, size);
    const cells = kernels.f32(matrix, rows * size * size);
    const met = totals.groups.subarray(g * groups, (g + 1) * groups);
    for (let r = 0; r < rows; r++) cells.set(met, (r * size + groups + g) * size + groups);
  }
  kernels.call('mirror_lower', matrix, rows, size);
  kernels.reset(mark);
  return { groups, size, matrix, slope };
}

/** The rows of group g up to the diagonal: of scales meeting scales one half is enough. */
function loadLower(panel: Float32Array, hessian: Float32Array, cols: number, group: number, g: number): void {
  const width = (g + 1) * group;
  for (let i = 0, at = g * group * cols; i < group; i++, at += cols) panel.set(hessian.subarray(at, at + width), i * cols);
}

/** Refits the levels of rows [from, to), whose systems these are, in place. */
export function refitHeld(
  kernels: Kernels,
  { groups, size, matrix, slope }: HeldSystems,
  storage: LevelStorage,
  { rows, from, to }: { rows: number; from: number; to: number },
): void {
  const { sets, unit, lowest, highest, highestMinimum, keepsSigns } = storage;
  const levels = gatherRows(sets, rows, from, to);
  const { units, codes, values } = levels;
  const valuesAt = kernels.put(values);
  const [unitsAt, codesAt] = codes ? [kernels.put(units), kernels.put(codes)] : [valuesAt, 0];
  const scratch = kernels.alloc(36 * (size + 4));
  kernels.call(
    'refit_levels',
    ...[matrix, slope, to - from, groups, size, values.length / units.length, unitsAt, codesAt, valuesAt],
    ...[lowest, highest, highestMinimum, roundings[unit], Number(keepsSigns), refitSweeps.fit, refitSweeps.stored, scratch],
  );
  values.set(kernels.f32(valuesAt, values.length));
  units.set(kernels.f32(unitsAt, units.length));
  codes?.set(kernels.i16(codesAt, codes.length));
  scatterRows(levels, sets, rows, from, to);
}
