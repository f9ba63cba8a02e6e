import { type CodebookOptions, learnBooks, quantizeToCodebook } from '../codebook/book-matrix.ts';
import type { CodebookScheme } from '../scheme.ts';
import type { InputStatistics, Kind } from './types.ts';

/** Values that are learned from the weights by k-means: for each row, for the tensor or for each run of columns; single ones, pairs or quads. */
export const codebook: Kind<CodebookScheme> = {
  needs: ({ weighted }) => (weighted ? ['meansquare'] : []),
  form: ({ bits, dim, per, bookType }) => ({
    grid: { kind: 'books', bits, dim, per, stored: bookType },
    scale: per === 'row' ? { stored: 'f32', group: 0, wholeTensor: true } : { stored: 'f16', group: 0 },
  }),
  run: ({ dim }) => dim,
  surveys: ({ per }) => (per === 'row' ? undefined : 'matrix'),
  survey: (x, place, scheme, inputs) => ({ book: learnBooks(x, place, optionsOf(scheme, inputs)) }),
  quantize: (x, place, scheme, inputs, { book }) =>
    quantizeToCodebook(x, place, { ...optionsOf(scheme, inputs), ...(book && { books: book }) }),
  stepLimit: () => undefined,
};

/** Rows that share a book are brought to one size first. */
function optionsOf({ bits, dim, per, weighted, bookType }: CodebookScheme, { meansquare }: InputStatistics): CodebookOptions {
  return {
    ...{ bits, dim, stored: bookType },
    per: { rows: per === 'row' ? 1 : 0, cols: typeof per === 'object' ? per.columns : 0 },
    ...(per !== 'row' && { scale: { granularity: 'channel' as const, by: 'rms' as const, scaleType: 'f16' as const } }),
    ...(weighted && meansquare && { importance: meansquare }),
  };
}
