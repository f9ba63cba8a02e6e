import { RecipeError } from '../../errors.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import { checkFinite } from '../check.ts';
import { type Factor, TILE } from './factor.ts';
import { Feedback } from './feedback.ts';

/** Levels that are given: x̂ = scale q + minimum with q an integer of [low, high], or scale T[code] + minimum. */
export interface FixedLevels {
  /** [rows, cols / group]; 0 makes every code stand for the minimum. */
  scale: Float32Array;
  /** [rows, cols / group]; none is 0. */
  minimum?: Float32Array;
  /** Columns that share a level, as they are stored. */
  group: number;
  /** The integers, or ascending values, 2^n of them. */
  grid: { low: number; high: number } | { codebook: Float32Array };
}

export interface FedRows {
  /** [rows, cols]: q - low, or the index in the codebook. */
  codes: Uint8Array;
  /** [rows]: (w - ŵ) (H + damp) (w - ŵ)'. */
  losses: Float32Array;
}

/**
 * Rounds rows to given levels with error feedback; each operation of x̂ is rounded to f32.
 * @param x [rows, cols]
 * @throws NumericError for NaN or Inf, RecipeError for levels that do not fit; both name the matrix
 */
export function feedbackRows(kernels: Kernels, x: Float32Array, levels: FixedLevels, factor: Factor, name = 'matrix'): FedRows {
  const { cols, order } = factor;
  const { scale, minimum, group, grid } = levels;
  const groups = cols / group;
  const rows = x.length / cols;
  const fits = Number.isInteger(groups) && Number.isInteger(rows) && scale.length === rows * groups;
  if (
    !fits ||
    (minimum && minimum.length !== scale.length) ||
    ('codebook' in grid && !Number.isInteger(Math.log2(grid.codebook.length)))
  ) {
    throw new RecipeError({ what: 'levels do not fit the rows', where: name, value: scale.length, limit: rows * groups });
  }
  checkFinite(x, name, 0, cols);
  // The arena grows below, and growth takes views of it away.
  const values = x.buffer === kernels.bytes(0, 0).buffer ? x.slice() : x;
  const mark = kernels.mark();
  try {
    const feedback = new Feedback(kernels, values, factor, {
      span: 'codebook' in grid ? 0 : grid.high - grid.low,
      ...('codebook' in grid && { lists: { values: grid.codebook, size: grid.codebook.length } }),
      compute: 'f32',
      groups,
      groupOf: order.map((column) => Math.floor(column / group)),
    });
    const low = 'codebook' in grid ? 0 : grid.low;
    for (let i = 0; i < scale.length; i++) {
      const level = { scale: scale[i]!, minimum: minimum?.[i] ?? 0, before: 0, low };
      feedback.setLevel(Math.floor(i / groups), i % groups, level);
    }
    for (let j = 0; j < feedback.tiles; j++) {
      feedback.enter(j);
      feedback.round(j, j * TILE, Math.min((j + 1) * TILE, cols));
    }
    return { codes: feedback.codes(), losses: feedback.losses(name) };
  } finally {
    kernels.reset(mark);
  }
}
