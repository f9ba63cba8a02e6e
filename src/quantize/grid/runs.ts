/** Values that share one scale and the codes of their quotients: the core of every grid with a scale. Typed arrays, no call a value. */
import type { NearestTable } from './nearest.ts';

/** How a quotient is computed. f32 rounds the quotient, and the reciprocal where there is one. */
export interface Division {
  compute: 'f32' | 'f64';
  divide: 'divide' | 'reciprocal';
}

/** Largest magnitude of x[from, to). */
export function absmaxOf(x: Float32Array | Float64Array, from: number, to: number): number {
  let most = 0;
  for (let i = from; i < to; i++) {
    const magnitude = Math.abs(x[i]!);
    if (magnitude > most) most = magnitude;
  }
  return most;
}

/** Root of the mean square of x[from, to). */
export function rmsOf(x: Float32Array, from: number, to: number): number {
  let sum = 0;
  for (let i = from; i < to; i++) sum += x[i]! * x[i]!;
  return Math.sqrt(sum / Math.max(to - from, 1));
}

/** codes[i] = code of the value nearest to x[i] / scale for i in [from, to). A scale of 0 stands for a quotient of 0. */
export function encodeRun(
  { thresholds, codes: slots, depth }: NearestTable,
  x: Float32Array | Float64Array,
  from: number,
  to: number,
  scale: number,
  { compute, divide }: Division,
  codes: Uint8Array | Uint16Array | Int16Array,
): void {
  const top = (2 ** depth) >> 1;
  const round = compute === 'f32';
  const inverse = scale === 0 ? 0 : round ? Math.fround(1 / scale) : 1 / scale;
  // The reciprocal of a scale near the smallest one is infinite.
  const divides = scale !== 0 && (divide === 'divide' || inverse === Number.POSITIVE_INFINITY);
  for (let i = from; i < to; i++) {
    let value = divides ? x[i]! / scale : x[i]! * inverse;
    if (round) value = Math.fround(value);
    let slot = 0;
    for (let step = top; step > 0; step >>= 1) if (value > thresholds[slot + step - 1]!) slot += step;
    codes[i] = slots[slot]!;
  }
}

/**
 * Σ w (x - s v)² over [from, to), v the grid value nearest to x / s: what one scale costs.
 * @param weights [cols] by column, where `column` is the column of x[from]; 1 where there are none
 */
export function runError(
  { thresholds, values, depth }: NearestTable,
  x: Float32Array,
  from: number,
  to: number,
  scale: number,
  weights?: Float32Array,
  column = 0,
): number {
  const top = (2 ** depth) >> 1;
  const inverse = scale === 0 ? 0 : 1 / scale;
  let sum = 0;
  for (let i = from; i < to; i++) {
    const quotient = x[i]! * inverse;
    let slot = 0;
    for (let step = top; step > 0; step >>= 1) if (quotient > thresholds[slot + step - 1]!) slot += step;
    const error = x[i]! - scale * values[slot]!;
    sum += error * error * (weights ? weights[column + i - from]! : 1);
  }
  return sum;
}
