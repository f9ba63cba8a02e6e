import { RecipeError } from '../../errors.ts';
import type { RangeOptions } from '../scheme.ts';
import { absmaxFull } from './absmax-full.ts';
import { absmaxGptq } from './absmax-gptq.ts';
import { absmaxHalf } from './absmax-half.ts';
import { absmaxNarrow } from './absmax-narrow.ts';
import { minmax } from './minmax.ts';
import { signedExtreme } from './signed-extreme.ts';
import type { Range, RangeContext } from './types.ts';

/** The ranges that are a formula on the extremes. */
export const baseRanges: Readonly<Record<NonNullable<RangeOptions['base']>, Range>> = {
  'absmax-narrow': absmaxNarrow,
  'absmax-full': absmaxFull,
  'absmax-half': absmaxHalf,
  'absmax-gptq': absmaxGptq,
  'signed-extreme': signedExtreme,
  minmax,
};

/** The formula that turns the limits of a range that clips (percentile and those that search) into a scale. */
export function baseOf({ symmetric, options }: RangeContext): Range {
  const range = baseRanges[options.base ?? (symmetric ? 'absmax-narrow' : 'minmax')];
  checkSymmetry(range, symmetric);
  return range;
}

/** @param among what to choose instead @throws RecipeError for a range of the other symmetry */
export function checkSymmetry(range: Range, symmetric: boolean, among: readonly Range[] = Object.values(baseRanges)): void {
  const kind = symmetric ? 'symmetric' : 'asymmetric';
  if (range.schemes === 'both' || range.schemes === kind) return;
  // Recipes do not name what only one container has by custom.
  const fitting = among.filter(({ name, schemes }) => (schemes === kind || schemes === 'both') && name !== 'signed-extreme');
  throw new RecipeError({
    what: `the range ${range.name} is ${range.schemes}, the scheme is ${kind}`,
    next: `choose ${fitting.map(({ name }) => name).join(', ')}`,
  });
}
