/** What the grids of this folder check before they look at values, and how rows split into runs that share a scale. */
import { RecipeError } from '../../errors.ts';
import type { Sharing } from '../../quantized/types.ts';
import { checkFinite } from '../check.ts';
import { runLength, sharingOf } from '../granularity.ts';
import type { TilePlace } from '../quantize-matrix.ts';
import type { Granularity } from '../scheme.ts';
import { absmaxOf } from './runs.ts';

/** Who shares a scale; `flat`: n consecutive values of the flattened matrix (bitsandbytes), the last run may be shorter. */
export type GridGranularity = Granularity | { flat: number };

/** RecipeError unless x holds the rows of the place, NumericError for NaN and infinities. */
export function checkRows(x: Float32Array, { name, shape, from, to }: TilePlace): void {
  const cols = shape[1];
  if (x.length !== (to - from) * cols) {
    throw new RecipeError({ what: 'the values do not fill the rows', where: name, value: x.length, limit: (to - from) * cols });
  }
  checkFinite(x, name, from, cols);
}

/** Weights by column, [cols]: not negative, and not all zero. */
export function checkWeights(weights: Float32Array | undefined, cols: number, name: string): void {
  if (!weights) return;
  const next = 'give the mean square of each input';
  if (weights.length !== cols) {
    throw new RecipeError({
      what: 'weights of the error do not fit the columns',
      where: name,
      value: weights.length,
      limit: cols,
      next,
    });
  }
  const wrong = weights.findIndex((weight) => !(weight >= 0 && weight < Number.POSITIVE_INFINITY));
  if (wrong >= 0)
    throw new RecipeError({ what: 'a weight of the error is negative or NaN', where: name, value: weights[wrong], next });
}

/** Sharing of the scales and the length of a run in x; runs of a tile start at its first value. */
export function runsOf(granularity: GridGranularity, x: Float32Array, place: TilePlace): { per: Sharing; run: number } {
  const { name, shape, from, to } = place;
  const [rows, cols] = shape;
  if (typeof granularity === 'string' || 'group' in granularity) {
    const run = runLength(granularity, cols, name);
    return { per: sharingOf(granularity), run: granularity === 'tensor' ? Math.max(x.length, 1) : run };
  }
  const { flat } = granularity;
  if (!Number.isInteger(flat) || flat < 1) {
    throw new RecipeError({ what: 'not a length of a flat run', where: name, value: flat, next: 'use a whole number' });
  }
  if ((from * cols) % flat !== 0 || (to !== rows && (to * cols) % flat !== 0)) {
    throw new RecipeError({
      what: `rows ${from} to ${to} of ${cols} values cut a flat run of ${flat}`,
      where: name,
      next: 'let tiles begin where runs do, or take the whole matrix as one tile',
    });
  }
  return { per: { flat }, run: flat };
}

/** absmax of the whole tensor: from the survey, or from x where the tile is all there is. */
export function tensorAbsmax(x: Float32Array, { name, shape, from, to, survey }: TilePlace): number {
  if (survey) return Math.max(Math.abs(survey.min), Math.abs(survey.max));
  if (from === 0 && to === shape[0]) return absmaxOf(x, 0, x.length);
  throw new RecipeError({
    what: 'a scale for the whole tensor needs its limits',
    where: name,
    next: 'survey it before its tiles',
  });
}
