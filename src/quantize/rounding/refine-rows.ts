/** Codes and levels that improve in turn, each given the other. */
import { descentState } from './descent.ts';
import type { LeveledRows } from './leveled-rows.ts';
import type { RefineMath } from './refine-math.ts';
import type { LevelStorage } from './stored-levels.ts';

export interface RefineRowsOptions {
  /** How often levels are refitted and codes descend again. */
  rounds: number;
  /** Passes over the columns each time codes descend. */
  sweeps: number;
  math: RefineMath;
}

/**
 * Descent on codes, then rounds of refitted levels and descent; codes and levels change in place. No row's loss
 * (ŵ - w) H (ŵ - w)' grows, but for f32 rounding of the sums.
 * @param w [rows, cols]
 * @param rows their scales and minima are the values of `storage`
 * @param hessian [cols, cols], damped or not
 */
export function refineRows(
  w: Float32Array,
  rows: LeveledRows,
  storage: LevelStorage,
  hessian: Float32Array,
  { rounds, sweeps, math }: RefineRowsOptions,
): void {
  let state = descentState(w, rows, hessian, math);
  math.descend(state, hessian, sweeps);
  for (let round = 0; round < rounds; round++) {
    math.refit(state, hessian, storage);
    state = descentState(w, rows, hessian, math);
    math.descend(state, hessian, sweeps);
  }
}
