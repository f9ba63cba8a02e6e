/** The scale of one run that loses least: fractions of the absmax scale, then the least-squares scale of the codes it gave. */
import type { NearestTable } from './nearest.ts';
import { runError } from './runs.ts';

export interface SearchOptions {
  /** Fractions tried: 1 - i / (2 steps) for i in [0, steps), so down to a half. */
  steps: number;
  cols: number;
  /** Of the first value. */
  column: number;
  /** [cols] */
  weights?: Float32Array;
}

/**
 * A scale with a (weighted) squared error not above that of `scale`. Runs may cross rows; then weights are taken row by row.
 * Ties keep the larger scale.
 */
export function searchScale(
  table: NearestTable,
  x: Float32Array,
  from: number,
  to: number,
  scale: number,
  { steps, cols, column, weights }: SearchOptions,
): number {
  if (scale === 0) return 0;
  const spread = weights && column + to - from > cols ? crossing(weights, column, to - from) : weights;
  const first = spread === weights ? column : 0;
  const errorAt = (candidate: number) => runError(table, x, from, to, candidate, spread, first);
  let best = scale;
  let least = errorAt(scale);
  const take = (candidate: number) => {
    const error = errorAt(candidate);
    if (!(error < least)) return false;
    least = error;
    best = candidate;
    return true;
  };
  for (let i = 1; i < steps; i++) take(Math.fround(scale * (1 - i / (2 * steps))));
  for (let round = 0; round < 4 && take(refitted(table, x, from, to, best, spread, first)); round++);
  return best;
}

/** The scale that fits the codes of `scale` best: Σ w x v / Σ w v². */
function refitted(
  { thresholds, values, depth }: NearestTable,
  x: Float32Array,
  from: number,
  to: number,
  scale: number,
  weights: Float32Array | undefined,
  column: number,
): number {
  const top = (2 ** depth) >> 1;
  const inverse = 1 / scale;
  let xv = 0;
  let vv = 0;
  for (let i = from; i < to; i++) {
    const quotient = x[i]! * inverse;
    let slot = 0;
    for (let step = top; step > 0; step >>= 1) if (quotient > thresholds[slot + step - 1]!) slot += step;
    const v = values[slot]! * (weights ? weights[column + i - from]! : 1);
    xv += x[i]! * v;
    vv += values[slot]! * v;
  }
  return vv > 0 && xv > 0 ? Math.fround(xv / vv) : scale;
}

function crossing(weights: Float32Array, column: number, n: number): Float32Array {
  return Float32Array.from({ length: n }, (_, i) => weights[(column + i) % weights.length]!);
}
