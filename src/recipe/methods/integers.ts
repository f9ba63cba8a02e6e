import type { IntegerScheme } from '../../quantize/scheme.ts';
import { granularityOf, type MethodOptions } from './types.ts';

/** Widths of integer grids that are symmetric where nothing is said, the customary one first: a symmetric bit is -s or 0. */
export const integerBits = [4, 8, 3, 2, 5, 6, 7] as const;
/** Of asymmetric ones. */
export const asymmetricBits = [...integerBits, 1] as const;

/** A plain integer grid; the range of the container where none is given. */
export function integers({ bits, group, symmetric, range }: MethodOptions): IntegerScheme {
  const own = range === undefined || range === 'absmax' ? (symmetric ? 'absmax-half' : 'minmax') : range;
  return { kind: 'integer', bits, symmetric, granularity: granularityOf(group), range: own, scaleType: 'f16' };
}
