/** The steps of refinement, slow and obvious. */

import { levelSystem } from './level-system.ref.ts';
import type { SymmetricProduct } from './leveled-rows.ts';
import type { DescentState, RefineMath } from './refine-math.ts';
import { refitRow } from './refit.ref.ts';
import { stepScales } from './single-scales.ref.ts';
import { gatherRows, type LevelStorage, scatterRows } from './stored-levels.ts';

/** Sums in f64. */
const product: SymmetricProduct = (a, h, k) => {
  const out = new Float32Array(a.length);
  const sums = new Float64Array(k);
  for (let from = 0; from < a.length; from += k) {
    sums.fill(0);
    for (let i = 0; i < k; i++) {
      const x = a[from + i];
      if (x === 0) continue;
      for (let j = 0, at = i * k; j < k; j++, at++) sums[j] += x * h[at];
    }
    out.set(sums, from);
  }
  return out;
};

function descend(state: DescentState, hessian: Float32Array, sweeps: number): number {
  let changed = 0;
  for (let sweep = 0; sweep < sweeps; sweep++) {
    const now = sweepColumns(state, hessian);
    changed += now;
    if (now === 0) break;
  }
  return changed;
}

function sweepColumns({ rows: quantized, gradient, decoded }: DescentState, hessian: Float32Array): number {
  const { rows, cols, group, codes, values, entries, scales, mins, kept } = quantized;
  const count = entries ?? values.length;
  let changed = 0;
  for (let k = 0; k < cols; k++) {
    const curvature = hessian[k * cols + k];
    for (let r = 0, at = k; r < rows; r++, at += cols) {
      const slope = gradient[at];
      const g = Math.floor(at / group);
      const scale = scales[g];
      if (scale === 0 || slope === 0 || !(curvature > 0) || kept?.mask[at]) continue;
      const min = mins ? mins[g] : 0;
      const value = decoded[at];
      // Downhill in x; a negative scale turns the order of the codes.
      const step = slope < 0 === scale > 0 ? 1 : -1;
      const list = entries ? r * entries : 0;
      let code = codes[at];
      let gain = 0;
      for (let next = code + step; next >= 0 && next < count; next += step) {
        const reached = Math.fround(Math.fround(scale * values[list + next]) + min);
        const moved = reached - value;
        const change = moved * (moved * curvature + 2 * slope);
        if (!(change < gain)) break;
        gain = change;
        decoded[at] = reached;
        code = next;
      }
      if (gain === 0) continue;
      codes[at] = code;
      changed++;
      const delta = Math.fround(decoded[at] - value);
      for (let j = r * cols, h = k * cols, end = j + cols; j < end; j++, h++) gradient[j] += Math.fround(delta * hessian[h]);
    }
  }
  return changed;
}

function refit({ rows, gradient }: DescentState, hessian: Float32Array, storage: LevelStorage): void {
  for (let row = 0; row < rows.rows; row++) {
    const levels = gatherRows(storage.sets, rows.rows, row, row + 1);
    refitRow(levelSystem(rows, gradient, hessian, row), levels, storage);
    scatterRows(levels, storage.sets, rows.rows, row, row + 1);
  }
}

export const slowMath: RefineMath = { product, descend, refit, stepScales };
