/**
 * Blocks that lose less for the inputs the layer really gets: codes and levels improve in turn, each given the other. The type,
 * its size and every reader stay the same; only the choice of codes and levels is better than that of weight-by-weight encoding.
 */
import { gridTable } from '../../../quantize/index.ts';
import { type DescentOptions, descend } from '../../../quantize/rounding/descent.ts';
import type { LeveledRows } from '../../../quantize/rounding/leveled-rows.ts';
import { slowMath } from '../../../quantize/rounding/refine-math.ref.ts';
import type { RefineMath } from '../../../quantize/rounding/refine-math.ts';
import { levelSystems } from '../../../quantize/rounding/refit.ts';
import { refitRow, type StoredLevels, type StoreLevels } from '../../../quantize/rounding/stored-levels.ts';
import { readCodes, writeCodes } from './codes.ts';
import { type LevelType, layoutOf } from './layouts.ts';
import { type BlockLevels, groupSize, type LevelSet, readLevels, writeLevels } from './levels.ts';
import { quantizeLevels } from './quantize-levels.ts';

export interface RefineOptions extends DescentOptions {
  /** How often levels are refitted and codes descend again (default 2). */
  rounds?: number;
}

/** Blocks of whole rows as codes and levels; changes to its arrays do not reach the bytes. */
export function leveledRows(type: LevelType, bytes: Uint8Array, cols: number): LeveledRows {
  return rowsUnder(type, readCodes(type, bytes), readLevels(type, bytes), cols);
}

function rowsUnder(type: LevelType, codes: Uint8Array, { scale, min }: BlockLevels, cols: number): LeveledRows {
  return {
    rows: codes.length / cols,
    cols,
    group: groupSize(type),
    codes,
    values: gridTable(layoutOf(type).grid)!,
    scales: scale.values,
    ...(min ? { mins: min.values } : {}),
  };
}

/**
 * Descent on codes, then rounds of refitted levels and descent. No row's loss (ŵ - w) H (ŵ - w)' grows, but for
 * f32 rounding of the sums.
 * @param w [rows, cols]
 * @param bytes the blocks of the rows, changed in place
 * @param hessian [cols, cols], damped or not
 */
export function refineBlocks(
  type: LevelType,
  w: Float32Array,
  bytes: Uint8Array,
  hessian: Float32Array,
  { rounds = 2, sweeps = 4, math = slowMath }: RefineOptions = {},
): void {
  const cols = Math.sqrt(hessian.length);
  const levels = readLevels(type, bytes);
  const rows = rowsUnder(type, readCodes(type, bytes), levels, cols);
  descend(w, rows, hessian, { sweeps, math });
  if (rounds > 0) {
    const fed = math.product(w, hessian, cols);
    for (let round = 0; round < rounds; round++) {
      refitLevels(type, fed, rows, levels, hessian, math);
      descend(w, rows, hessian, { sweeps, math });
    }
  }
  writeLevels(type, levels, bytes);
  writeCodes(type, rows.codes, bytes);
}

/**
 * Refits the levels of all rows to their codes, in place.
 * @param fed H w, [rows, cols]
 * @param rows a view of `levels`
 */
function refitLevels(
  type: LevelType,
  fed: Float32Array,
  rows: LeveledRows,
  levels: BlockLevels,
  hessian: Float32Array,
  math: RefineMath,
): void {
  const { min } = layoutOf(type);
  const sets = levels.min ? [levels.scale, levels.min] : [levels.scale];
  const store = storeLevels(type);
  let row = 0;
  for (const system of levelSystems(fed, rows, hessian, math)) {
    const current = sets.map((set, i) => rowOf(type, set, i === 1, row, rows.rows));
    const refitted = refitRow(system, current, store, min?.subtracted ? 0 : undefined);
    refitted.forEach(({ units, codes, values }, i) => {
      sets[i].units.set(units, row * units.length);
      sets[i].codes?.set(codes!, row * values.length);
      sets[i].values.set(values, row * values.length);
    });
    row++;
  }
}

/** A copy of one row's levels. */
function rowOf(type: LevelType, { units, codes, values }: LevelSet, isMin: boolean, row: number, rows: number): StoredLevels {
  const part = <A extends Float32Array | Int16Array>(all: A) => {
    const each = all.length / rows;
    return all.slice(row * each, (row + 1) * each) as A;
  };
  return { units: part(units), ...(codes ? { codes: part(codes) } : {}), values: part(values), ...codeRange(type, isMin) };
}

function codeRange(type: LevelType, isMin: boolean): { lowest: number; highest: number } {
  const { levels } = layoutOf(type);
  if (!levels) return { lowest: 1, highest: 1 };
  const lowest = isMin ? 0 : levels.lowest;
  return { lowest, highest: lowest + 2 ** levels.bits - 1 };
}

function storeLevels(type: LevelType): StoreLevels {
  const { min } = layoutOf(type);
  return (wished, weights) => {
    const groups = min ? wished.length / 2 : wished.length;
    const halves = (all: Float64Array) => [Float32Array.from(all.subarray(0, groups)), Float32Array.from(all.subarray(groups))];
    const [scales, mins] = halves(wished);
    const [scaleWeights, minWeights] = halves(weights);
    const found = quantizeLevels(type, scales, min && mins, { scale: scaleWeights, ...(min ? { min: minWeights } : {}) });
    // Values of their own: where units are the levels, both would be one array.
    const stored = (set: LevelSet, isMin: boolean): StoredLevels => ({
      units: set.units,
      ...(set.codes ? { codes: set.codes } : {}),
      values: set.values.slice(),
      ...codeRange(type, isMin),
    });
    return found.min ? [stored(found.scale, false), stored(found.min, true)] : [stored(found.scale, false)];
  };
}
