/** Wished levels as codes under a unit, slow and obvious. See kernels/assembly/fit_units.ts. */
import { roundF16 } from '../../numeric/f16.ts';

/** Codes of levels that share a unit. */
export interface CodeRange {
  /** Levels of a unit. */
  shared: number;
  lowest: number;
  highest: number;
}

const largestHalf = 65504;

/** The nearest finite f16. */
export function storableHalf(x: number): number {
  return roundF16(Math.max(-largestHalf, Math.min(largestHalf, x)));
}

/**
 * The storable levels nearest to the wished ones: for each unit an f16 and codes that minimise sum w (wished - stored)^2 among
 * grids that put the largest wish at or between codes of the outer half, their unit fitted by least squares. Levels that a code in
 * that half can hold are found exactly.
 * @param wished [units * shared]
 * @param weights [units * shared], >= 0; where all of a unit are 0 they count alike
 * @param out units [units], codes and values [units * shared]
 */
export function fitUnits(
  wished: Float32Array,
  weights: Float32Array,
  range: CodeRange,
  out: { units: Float32Array; codes: Int16Array; values: Float32Array },
): void {
  const { shared, lowest, highest } = range;
  const ones = new Float32Array(shared).fill(1);
  for (let u = 0, from = 0; u < out.units.length; u++, from += shared) {
    const wish = wished.subarray(from, from + shared);
    const w = weights.subarray(from, from + shared);
    const unit = fitUnit(wish, w.some((v) => v > 0) ? w : ones, range);
    out.units[u] = unit;
    const inverse = unit === 0 ? 0 : 1 / unit;
    for (let g = 0; g < shared; g++) {
      out.codes[from + g] = nearestCode(wish[g]! * inverse, lowest, highest);
      out.values[from + g] = out.codes[from + g]! * unit;
    }
  }
}

/** Adding it to a small f64 and taking it away again rounds that half to even. */
const roundingShift = 1.5 * 2 ** 52;

export function nearestCode(x: number, lowest: number, highest: number): number {
  return x <= lowest ? lowest : x >= highest ? highest : x + roundingShift - roundingShift;
}

/**
 * Grids tried that put the largest wish between half of the top code (coarser ones lose four times as much) and a quarter beyond it
 * (a wish of little weight may be cut).
 */
const gridsTried = 96;

function fitUnit(wished: Float32Array, w: Float32Array, { lowest, highest }: CodeRange): number {
  let extreme = 0;
  for (const x of wished) if (Math.abs(x) > Math.abs(extreme)) extreme = x;
  if (extreme === 0) return 0;

  let unit = 0;
  let best = 0;
  const tryCode = (code: number) => {
    const inverse = code / extreme;
    let product = 0;
    let square = 0;
    for (let g = 0; g < wished.length; g++) {
      const nearest = nearestCode(wished[g]! * inverse, lowest, highest);
      const weighted = w[g]! * nearest;
      product += weighted * wished[g]!;
      square += weighted * nearest;
    }
    // With the unit fitted to the codes by least squares the error is sum w wished^2 - product^2 / square.
    if (square === 0 || product * product <= best * square) return;
    best = (product * product) / square;
    unit = product / square;
  };
  const top = Math.max(highest, -lowest);
  for (let i = 0; i <= gridsTried; i++) {
    const code = top * (1.25 - (0.75 * i) / gridsTried);
    tryCode(lowest < 0 ? -code : code);
    // A signed grid has one code more on its lower side: elsewhere the sign of the unit makes no difference.
    if (lowest < 0 && code > highest) tryCode(code);
  }
  return storableHalf(unit);
}
