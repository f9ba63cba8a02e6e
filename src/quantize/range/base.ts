import { RecipeError } from '../../errors.ts';
import { clippingRanges, type RangeOptions } from '../scheme.ts';
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

export function checkSymmetry(range: Range, symmetric: boolean): void {
  const kind = symmetric ? 'symmetric' : 'asymmetric';
  if (range.schemes === 'both' || range.schemes === kind) return;
  const fitting = Object.values(baseRanges).filter((r) => r.schemes === kind);
  throw new RecipeError({
    what: `the range ${range.name} is ${range.schemes}, the scheme is ${kind}`,
    next: `choose ${[...fitting.map((r) => r.name), ...clippingRanges].join(', ')}`,
  });
}
