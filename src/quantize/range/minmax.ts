import type { Limits, Range, RangeContext } from './types.ts';

/** The extremes of values[from, to). */
export function extremes(values: Float32Array, from: number, to: number): Limits {
  let min = values[from]!;
  let max = min;
  for (let i = from + 1; i < to; i++) {
    const x = values[i]!;
    if (x < min) min = x;
    else if (x > max) max = x;
  }
  return { min, max };
}

/** An integer zero point must be a code, so the range has to contain 0; float zeros and minima need no such thing. */
export function containZero({ min, max }: Limits, { zero }: RangeContext): Limits {
  return zero === 'integer' ? { min: Math.min(min, 0), max: Math.max(max, 0) } : { min, max };
}

export const minmax: Range = {
  name: 'minmax',
  schemes: 'asymmetric',
  options: [],
  describe: ({ zero }) => `s = (max - min) / (2^b - 1)${zero === 'integer' ? ', range widened to contain 0' : ''}`,
  limits: extremes,
  scale(limits, context) {
    const { min, max } = containZero(limits, context);
    return context.round(context.round(max - min) / (2 * context.grid.half - 1));
  },
};
