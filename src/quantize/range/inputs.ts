/** What ranges need to know of the inputs that the columns of a weight meet, in the form that travels to workers. */
import { RecipeError } from '../../errors.ts';
import { runLength } from '../granularity.ts';
import type { Granularity, RangeName } from '../scheme.ts';
import type { StatisticKind, Statistics } from '../statistics.ts';
import type { RangeInputs } from './types.ts';

/** Rows and tensors that share a scale are cut into blocks of at most so many columns: a candidate would cost cols² a row. */
const LARGEST_BLOCK = 128;

/** Columns of one block of the Hessian: the group, or the largest divisor of the row up to 128. */
export function blockSize(granularity: Granularity, cols: number, where = 'matrix'): number {
  const run = runLength(granularity, cols, where);
  if (typeof granularity === 'object') return run;
  for (let size = Math.min(run, LARGEST_BLOCK); ; size--) if (run % size === 0) return size;
}

/** The blocks on the diagonal of the Hessian, [cols / size, size, size]. hessian: [cols, cols] */
export function groupBlocks(hessian: Float32Array, cols: number, size: number): Float32Array {
  if (hessian.length !== cols * cols || cols % size !== 0) {
    throw new RecipeError({ what: 'a Hessian does not have this width', value: hessian.length, limit: cols * cols });
  }
  const blocks = new Float32Array(cols * size);
  for (let c = 0; c < cols; c++) {
    const start = c - (c % size); // row c of the Hessian meets the columns of its own block only
    blocks.set(hessian.subarray(c * cols + start, c * cols + start + size), c * size);
  }
  return blocks;
}

/**
 * The part of an input's statistics that a range with these needs reads. Missing ones stay missing: the range says so itself.
 * @throws RecipeError for statistics of another width
 */
export function rangeInputs(
  needs: readonly StatisticKind[],
  granularity: Granularity,
  cols: number,
  { meansquare, hessian }: Pick<Statistics, 'meansquare' | 'hessian'>,
): RangeInputs {
  const size = needs.includes('hessian') && hessian ? blockSize(granularity, cols) : 0;
  return {
    ...(needs.includes('meansquare') && meansquare && { meansquare }),
    ...(size > 0 && { blocks: { size, values: groupBlocks(hessian!, cols, size) } }),
  };
}

/** @throws RecipeError for inputs of another width than the weight's, or blocks that do not divide the values that share a scale */
export function checkInputs({ meansquare, blocks }: RangeInputs, granularity: Granularity, cols: number, where: string): void {
  const wrong = (what: string, value: number, limit: number) => new RecipeError({ what, where, value, limit });
  if (meansquare && meansquare.length !== cols) throw wrong('mean squares of an input of another width', meansquare.length, cols);
  if (!blocks) return;
  if (!(blocks.size > 0) || blocks.values.length !== cols * blocks.size)
    throw wrong('blocks of the Hessian of an input of another width', blocks.values.length, cols * blocks.size);
  const run = runLength(granularity, cols, where);
  if (run % blocks.size !== 0) throw wrong('blocks of the Hessian do not divide the values that share a scale', blocks.size, run);
}

const meaning: Partial<Record<StatisticKind, string>> = {
  meansquare: 'the mean squares of the inputs (an importance matrix)',
  hessian: 'the Hessian of the inputs',
};

/** The statistic, or RecipeError saying how to get it. */
export function demanded<T>(statistic: T | undefined, range: RangeName, kind: StatisticKind): T {
  if (statistic !== undefined) return statistic;
  throw new RecipeError({
    what: `the range ${range} needs ${meaning[kind] ?? kind}`,
    next: 'make statistics with fewbits calibrate and give them with --stats, or choose the range mse, which needs none',
  });
}
