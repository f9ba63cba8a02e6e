import { NumericError } from '../errors.ts';
import { floatTypes } from '../numeric/float.ts';

/** The float dtypes in which levels, factors and kept values are stored. */
export type StoredFloat = 'f32' | 'f16' | 'bf16';

/** The value as it is stored. @throws NumericError where it overflows; what: 'a column scale' */
export function storedValue(stored: StoredFloat, value: number, what: string, where: string): number {
  const cast = floatTypes[stored].round(Math.fround(value));
  if (Number.isFinite(cast)) return cast;
  const next = stored === 'f16' ? 'store it as bf16 or f32' : 'keep this tensor as it is';
  throw new NumericError({ what: `${what} overflows ${stored}`, where, value: `${value}`, limit: floatTypes[stored].max, next });
}
