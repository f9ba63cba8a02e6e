/** Error feedback on any grid whose levels stand: codes of a tile, and what it keeps apart. */
import { RecipeError } from '../../errors.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { checkFinite } from '../check.ts';
import { type CodeLists, codeLists, codesAt } from './code-lists.ts';
import { type Factor, TILE } from './factor.ts';
import { Feedback, type KeptCells } from './feedback.ts';

/** Values of one tile under levels of consecutive columns. */
export interface FixedGrid {
  lists: CodeLists;
  /** Columns that share a scale. */
  group: number;
  /** [rows, cols / group]; a view of the tile's where each row has its own. */
  scales: Float32Array;
}

/** @throws RecipeError where codes do not stand for single values, or levels do not belong to runs of a row */
export function fixedGrid(tile: QuantizedTile): FixedGrid {
  const { name, scale, zero, shape, from, to } = tile;
  const cols = shape[1];
  const lists = codeLists(tile);
  const per = scale?.per;
  if (!lists || zero || !scale || !per || !('rows' in per) || per.rows > 1) {
    throw new RecipeError({
      what: 'feedback needs codes that stand for one value each, under scales of runs of a row',
      where: name,
      value: tile.grid.kind,
      next: 'leave rounding out',
    });
  }
  if (per.rows === 0) return { lists, group: cols, scales: new Float32Array(to - from).fill(scale.values[0]!) };
  return { lists, group: per.cols || cols, scales: scale.values };
}

/**
 * Chooses codes with feedback, in place. Errors are those of the values that `dequantizeTile` gives; the result of a row does not
 * depend on how rows are cut.
 * @param x what the codes aim at, [to - from, cols]; not a view of the kernels' memory
 * @param tile its levels stand, its codes count for nothing
 * @returns the values of cells that are kept, [to - from, cols]
 * @throws NumericError for NaN, Inf, or feedback that overflows
 */
export function feedTile(
  kernels: Kernels,
  x: Float32Array,
  tile: QuantizedTile,
  factor: Factor,
  kept?: KeptCells,
): Float32Array | undefined {
  const { name, from, shape, arithmetic } = tile;
  const cols = shape[1];
  if (factor.cols !== cols) {
    throw new RecipeError({
      what: 'the Hessian has another width than the weight',
      where: name,
      value: factor.cols,
      limit: cols,
    });
  }
  checkFinite(x, name, from, cols);
  const { lists, group, scales } = fixedGrid(tile);
  const groups = cols / group;
  const mark = kernels.mark();
  try {
    const feedback = new Feedback(kernels, x, factor, {
      span: 0,
      lists,
      compute: arithmetic?.compute ?? 'f32',
      groups,
      groupOf: factor.order.map((column) => Math.floor(column / group)),
      ...(kept && { kept }),
    });
    for (const [i, scale] of scales.entries()) {
      feedback.setLevel(Math.floor(i / groups), i % groups, { scale, minimum: 0, before: 0, low: 0 });
    }
    for (let j = 0; j < feedback.tiles; j++) {
      feedback.enter(j);
      feedback.round(j, j * TILE, Math.min((j + 1) * TILE, cols));
    }
    feedback.losses(name);
    tile.codes.set(codesAt(feedback.codes(), lists, cols));
    return kept && feedback.keptValues(x, kept);
  } finally {
    kernels.reset(mark);
  }
}
