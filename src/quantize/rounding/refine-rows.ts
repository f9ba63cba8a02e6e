/** Codes and levels that improve in turn, each given the other. */
import { descentState } from './descent.ts';
import type { KeptCells } from './feedback.ts';
import { settleKept } from './kept-cells.ts';
import type { LeveledRows } from './leveled-rows.ts';
import type { RefineMath } from './refine-math.ts';
import type { SingleScales } from './single-scales.ts';
import type { LevelStorage } from './stored-levels.ts';

export interface RefineRowsOptions {
  /** How often levels are refitted and codes descend again. */
  rounds: number;
  /** Passes over the columns each time codes descend. */
  sweeps: number;
  math: RefineMath;
  /** How cells that are kept are stored (f16). */
  stored?: KeptCells['stored'];
}

/**
 * Descent on codes, then rounds of refitted levels and descent; codes, levels and kept values change in place. No row's loss
 * (ŵ - w) H (ŵ - w)' grows, but for f32 rounding of the sums.
 * @param w [rows, cols]
 * @param rows their scales and minima are the values of `storage`
 * @param storage how levels can be stored; undefined: they stay
 * @param hessian [cols, cols], damped or not
 */
export function refineRows(
  w: Float32Array,
  rows: LeveledRows,
  storage: LevelStorage | SingleScales | undefined,
  hessian: Float32Array,
  { rounds, sweeps, math, stored = 'f16' }: RefineRowsOptions,
): void {
  let state = descentState(w, rows, hessian, math);
  const descend = () => {
    math.descend(state, hessian, sweeps);
    settleKept(state, hessian, stored);
  };
  descend();
  for (let round = 0; round < rounds; round++) {
    if (storage && 'sets' in storage) {
      math.refit(state, hessian, storage);
      state = descentState(w, rows, hessian, math);
    } else if (storage) math.stepScales(state, hessian, storage);
    descend();
  }
}
