/** Error feedback on any grid whose levels stand: codes of a tile, and what it keeps apart. */
import { RecipeError } from '../../errors.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { checkFinite } from '../check.ts';
import { integerGrid } from '../grid/integer.ts';
import { type CodeLists, codeLists, codesAt } from './code-lists.ts';
import { type Factor, TILE } from './factor.ts';
import { Feedback, type KeptCells, type Level } from './feedback.ts';

/** What the cells of a tile are coded with, whatever its grid. */
interface FixedGrid {
  /** Absent for integers. */
  lists?: CodeLists;
  /** Columns that share a level. */
  group: number;
  /** [rows, cols / group], row after row */
  level(row: number, group: number): Level;
}

/** @throws RecipeError where codes do not stand for single values, or levels do not belong to runs of a row */
function fixedGrid(tile: QuantizedTile): FixedGrid {
  const { name, scale, zero, shape, grid } = tile;
  const cols = shape[1];
  const lists = grid.kind === 'integer' ? undefined : codeLists(tile);
  const per = scale?.per;
  if (!scale || !per || !('rows' in per) || per.rows > 1 || !(grid.kind === 'integer' || (lists && !zero))) {
    throw new RecipeError({
      what: 'feedback needs codes that stand for one value each, under scales of runs of a row',
      where: name,
      value: grid.kind,
      next: 'leave rounding out',
    });
  }
  const group = per.rows === 0 ? cols : per.cols || cols;
  const at = (row: number, g: number): number => (per.rows === 0 ? 0 : row * (cols / group) + g);
  if (grid.kind !== 'integer') {
    const level = (row: number, g: number) => ({ scale: scale.values[at(row, g)]!, minimum: 0, before: 0, low: 0 });
    return { lists: lists!, group, level };
  }
  const { qMin } = integerGrid(grid.bits, grid.signed);
  // A zero point that is added before rounding is a float one that happens to be an integer.
  const added = zero?.kind === 'integer' && tile.arithmetic?.zero === 'beforeRounding';
  const offsets = zero ? levelOfZero[added ? 'float' : zero.kind] : () => ({});
  return {
    group,
    level: (row, g) => ({
      scale: scale.values[at(row, g)]!,
      ...{ minimum: 0, before: 0, low: qMin },
      ...offsets(zero?.levels.values[at(row, g)] ?? 0, qMin),
    }),
  };
}

const levelOfZero: Record<'integer' | 'float' | 'minimum', (zero: number, qMin: number) => Partial<Level>> = {
  integer: (zero, qMin) => ({ low: qMin - zero }),
  float: (zero) => ({ before: zero }),
  minimum: (zero) => ({ minimum: zero }),
};

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
  const { lists, group, level } = fixedGrid(tile);
  const { grid } = tile;
  const groups = cols / group;
  const mark = kernels.mark();
  try {
    const feedback = new Feedback(kernels, x, factor, {
      span: grid.kind === 'integer' ? 2 ** grid.bits - 1 : 0,
      ...(lists && { lists }),
      compute: arithmetic?.compute ?? 'f32',
      groups,
      groupOf: factor.order.map((column) => Math.floor(column / group)),
      ...(kept && { kept }),
    });
    for (let row = 0; row < x.length / cols; row++) for (let g = 0; g < groups; g++) feedback.setLevel(row, g, level(row, g));
    for (let j = 0; j < feedback.tiles; j++) {
      feedback.enter(j);
      feedback.round(j, j * TILE, Math.min((j + 1) * TILE, cols));
    }
    feedback.losses(name);
    tile.codes.set(lists ? codesAt(feedback.codes(), lists, cols) : feedback.codes());
    return kept && feedback.keptValues(x, kept);
  } finally {
    kernels.reset(mark);
  }
}
