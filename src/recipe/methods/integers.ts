import type { IntegerScheme } from '../../quantize/scheme.ts';
import { granularityOf, type MethodOptions } from './types.ts';

/** Widths of integer grids, the customary one first. */
export const integerBits = [4, 8, 3, 2, 5, 6, 7, 1] as const;

/** A plain integer grid; the range of the container where none is given. */
export function integers({ bits, group, symmetric, range }: MethodOptions): IntegerScheme {
  const own = range === undefined || range === 'absmax' ? (symmetric ? 'absmax-half' : 'minmax') : range;
  return { kind: 'integer', bits, symmetric, granularity: granularityOf(group), range: own, scaleType: 'f16' };
}
