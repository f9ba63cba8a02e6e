/**
 * Weights that aim at the output of the unquantized model: layers before are quantized already, and what those changed is made up
 * for as far as the inputs allow (as in GPTAQ, Li et al., arXiv 2504.02692, and Qronos, arXiv 2505.11695).
 */
import { NumericError, RecipeError } from '../../errors.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import { checkFinite } from '../check.ts';
import type { Drift } from './drift.ts';
import { type Factor, TILE, TILE_SIZE, tileOffset } from './factor.ts';
import { matrixProduct } from './products.ts';
import { RowPanels } from './row-panels.ts';

/** β: the share of the stream's own drift that a linear makes up for. Of the shares tried, this lost least on the default model. */
const residualShare = 0.5;

/**
 * W* = W + (W D + β E) (H + damp)^-1 with D = drift.input and E = drift.residual: the minimum of the mean of
 * |W x0 + β (h0 - h) - W* x|² over tokens, where damp holds it near W. The targets of a row do not depend on the other rows.
 * Costs 2 rows cols² multiplications.
 * @param w [rows, cols], rows of a tile
 * @param drift input: [cols, cols], residual: [rows, cols], the rows of the tile
 * @returns [rows, cols]; dead columns as they are in w
 * @throws NumericError for NaN or Inf, RecipeError for sizes that do not fit; both name the matrix
 */
export function correctedTargets(kernels: Kernels, w: Float32Array, drift: Drift, factor: Factor, name = 'matrix'): Float32Array {
  const { cols } = factor;
  const rows = w.length / cols;
  const residual = drift.residual?.length ?? w.length;
  if (!Number.isInteger(rows) || drift.input.length !== cols * cols || residual !== w.length) {
    throw new RecipeError({
      what: 'the drift does not fit the weight',
      where: name,
      value: `${drift.input.length} and ${residual} values`,
      limit: `${cols * cols} and ${w.length}`,
    });
  }
  checkFinite(w, name, 0, cols);
  // A copy also because the arena grows below, and growth takes views of it away.
  const targets = w.slice();
  const missed = missedOutput(kernels, targets, drift, cols);
  const mark = kernels.mark();
  try {
    const x = new RowPanels(kernels, rows, cols);
    loadMissed(x, missed, factor);
    solve(kernels, x, factor);
    addChange(targets, x, factor, name);
  } finally {
    kernels.reset(mark);
  }
  return targets;
}

/** W D + β E, [rows, cols]: what the outputs miss, with the inputs. */
function missedOutput(kernels: Kernels, w: Float32Array, { input, residual }: Drift, cols: number): Float32Array {
  const missed = matrixProduct(kernels, w, input, cols, cols);
  if (residual) for (let i = 0; i < missed.length; i++) missed[i]! += residualShare * residual[i]!;
  return missed;
}

function loadMissed(x: RowPanels, missed: Float32Array, { cols, order, dead }: Factor): void {
  const cells = x.cells();
  for (let row = 0; row < x.rows; row++) {
    const at = row * cols;
    for (let k = 0; k < cols; k++) {
      const column = order[k]!;
      cells[x.index(row, k)] = dead[column] ? 0 : missed[at + column]!;
    }
  }
}

/**
 * X of X R R' = B, in place. With Z_k = (X R)_k R_kk and S = R / diag(R):
 *   Z_k = B_k - sum over j > k of Z_j S_kj, and then X_k = Z_k / R_kk² - sum over j < k of X_j S_jk
 */
function solve(kernels: Kernels, x: RowPanels, { matrix, roots }: Factor): void {
  const { tiles, panels } = x;
  const [s, turned] = [kernels.alloc(4 * TILE_SIZE), kernels.alloc(4 * TILE_SIZE)];
  const load = (i: number, j: number): number => {
    const at = tileOffset(tiles, i, j);
    kernels.f32(s, TILE_SIZE).set(matrix.subarray(at, at + TILE_SIZE));
    return s;
  };
  const loadTurned = (i: number, j: number): number => {
    kernels.call('transpose_tile', load(i, j), turned);
    return turned;
  };
  for (let k = tiles - 1; k >= 0; k--) {
    for (let j = tiles - 1; j > k; j--) x.subtract(k, x.tile(j), loadTurned(k, j));
    kernels.call('solve_tile', x.tile(k), loadTurned(k, k), panels);
  }
  for (let k = 0; k < tiles; k++) {
    divideColumns(x.tileCells(k), roots.subarray(k * TILE, (k + 1) * TILE));
    for (let j = 0; j < k; j++) x.subtract(k, x.tile(j), load(j, k));
    // What feedback of rounding without an error would be: X of X S = C.
    kernels.call('feed_forward', x.tile(k), TILE, x.tile(k), load(k, k), 0, TILE, panels);
  }
}

/** cells: [panels][128][8], roots: [128] */
function divideColumns(cells: Float32Array, roots: Float32Array): void {
  for (let i = 0; i < cells.length; i++) cells[i]! /= roots[(i >> 3) & 127]! ** 2;
}

function addChange(targets: Float32Array, x: RowPanels, { cols, order, dead }: Factor, name: string): void {
  const cells = x.cells();
  for (let row = 0; row < x.rows; row++) {
    for (let k = 0; k < cols; k++) {
      const column = order[k]!;
      const change = cells[x.index(row, k)]!;
      // Where nothing changes, -0 stays -0.
      if (change === 0 || dead[column]) continue;
      const at = row * cols + column;
      const target = Math.fround(targets[at]! + change);
      if (!Number.isFinite(target)) {
        throw new NumericError({
          what: 'the correction for layers before overflows',
          where: name,
          value: `${target} at row ${row} of a tile, column ${column}`,
          next: 'raise damp, or calibrate in f32',
        });
      }
      targets[at] = target;
    }
  }
}
