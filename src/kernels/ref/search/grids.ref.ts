/** The codes that a search chooses among, and which of them is nearest to a value in units of the scale. */
import { halfEven } from '../../../numeric/rounding.ts';
import { codebook } from '../iq4.ref.ts';

export interface CodeGrid {
  /** What the code nearest to y stands for; y: f32. */
  nearest(y: number): number;
}

/** All whole numbers from `low` to `high`, half to even; a NaN stays one. */
export function wholeNumbers(low: number, high: number): CodeGrid {
  return { nearest: (y) => halfEven(Math.min(high, Math.max(low, y))) };
}

/** Those of IQ4_NL and IQ4_XS; halfway the upper one. */
export const iq4: CodeGrid = {
  nearest(y) {
    let code = 0;
    while (code < 15 && 2 * y >= codebook[code]! + codebook[code + 1]!) code++;
    return codebook[code]!;
  },
};

/** One over x, 0 where that is no number. */
export function reciprocal(x: number): number {
  return ratio(1, x);
}

/** a / b in f32, 0 where that is no number. */
export function ratio(a: number, b: number): number {
  const quotient = Math.fround(a / b);
  return Number.isFinite(quotient) ? quotient : 0;
}
