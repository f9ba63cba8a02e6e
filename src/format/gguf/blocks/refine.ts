/**
 * Blocks that lose less for the inputs the layer really gets: codes and levels improve in turn, each given the other. The type,
 * its size and every reader stay the same; only the choice of codes and levels is better than that of weight-by-weight encoding.
 */
import { gridTable } from '../../../quantize/index.ts';
import type { DescentOptions } from '../../../quantize/rounding/descent.ts';
import type { LeveledRows } from '../../../quantize/rounding/leveled-rows.ts';
import { slowMath } from '../../../quantize/rounding/refine-math.ref.ts';
import { refineRows } from '../../../quantize/rounding/refine-rows.ts';
import type { LevelRange } from '../../../quantize/rounding/stored-levels.ts';
import { readCodes, writeCodes } from './codes.ts';
import { type LevelType, layoutOf } from './layouts.ts';
import { type BlockLevels, groupSize, readLevels, writeLevels } from './levels.ts';

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
  const sets = levels.min ? [levels.scale, levels.min] : [levels.scale];
  refineRows(w, rows, { ...levelRange(type), sets }, hessian, { rounds, sweeps, math });
  writeLevels(type, levels, bytes);
  writeCodes(type, rows.codes, bytes);
}

function levelRange(type: LevelType): LevelRange {
  const { levels, min } = layoutOf(type);
  // Types with minima have codes from 0 on for both.
  const lowest = levels?.lowest ?? 1;
  const highest = levels ? lowest + 2 ** levels.bits - 1 : 1;
  return { unit: 'f16', lowest, highest, highestMinimum: min?.subtracted ? 0 : Number.POSITIVE_INFINITY, keepsSigns: false };
}
