import type { Arithmetic } from '../quantized/types.ts';

/**
 * The formulas as they are written, in f64 and rounded once when stored; codes belong to the scale that is stored.
 * `compute: 'f32'` rounds each operation, as torch does on f32 tensors: a zero point near a tie may then differ by one.
 */
export const defaultArithmetic: Required<Arithmetic> = {
  compute: 'f64',
  divide: 'divide',
  rounding: 'halfEven',
  scale: 'afterCast',
  zero: 'afterRounding',
};

export function completeArithmetic(given: Partial<Arithmetic> = {}): Required<Arithmetic> {
  return { ...defaultArithmetic, ...given };
}
