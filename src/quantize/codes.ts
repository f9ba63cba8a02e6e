/** The hot loops: values to quotients to codes. Typed arrays, no function call a value. */
import { floatTypes } from '../numeric/float.ts';
import type { Arithmetic } from '../quantized/types.ts';
import type { IntegerGrid } from './grid/integer.ts';

/** f64 arithmetic needs f64 cells; storing into f32 cells is itself the rounding that f32 arithmetic demands. */
export type Scratch = Float32Array | Float64Array;

export function scratch(compute: Arithmetic['compute'], n: number): Scratch {
  return compute === 'f64' ? new Float64Array(n) : new Float32Array(n);
}

/** Step and offset of one run: quotient = (x - minimum) / scale + before. */
export interface Run {
  scale: number;
  minimum: number;
  /** Added before rounding. */
  before: number;
  /** Added after rounding. */
  after: number;
}

/** out[from, to) = (x - minimum) / scale + before, each operation rounded to the compute dtype. A scale of 0 gives `before`. */
export function quotients(
  x: Float32Array,
  from: number,
  to: number,
  run: Run,
  arithmetic: Required<Arithmetic>,
  out: Scratch,
): void {
  const { roundRun, round } = floatTypes[arithmetic.compute];
  const { scale, minimum, before } = run;
  const inverse = arithmetic.divide === 'reciprocal' && scale !== 0 ? round(1 / scale) : undefined;
  if (scale === 0) {
    out.fill(0, from, to);
  } else if (minimum !== 0) {
    for (let i = from; i < to; i++) out[i] = x[i]! - minimum;
    roundRun(out, from, to);
    if (inverse === undefined) for (let i = from; i < to; i++) out[i] = out[i]! / scale;
    else for (let i = from; i < to; i++) out[i] = out[i]! * inverse;
  } else if (inverse === undefined) {
    for (let i = from; i < to; i++) out[i] = x[i]! / scale;
  } else {
    for (let i = from; i < to; i++) out[i] = x[i]! * inverse;
  }
  roundRun(out, from, to);
  if (before !== 0) {
    for (let i = from; i < to; i++) out[i] = out[i]! + before;
    roundRun(out, from, to);
  }
}

/** Adding 1.5 * 2^52 rounds half to even where |x| < 2^51; larger quotients are far outside every grid. */
export const HALF_EVEN = 6755399441055744;

/** codes[at + i] = clamp(round(quotients[i]) + after) - qMin for i in [from, to). */
export function roundToCodes(
  quotient: Scratch,
  from: number,
  to: number,
  after: number,
  { qMin, qMax }: IntegerGrid,
  mode: Arithmetic['rounding'],
  codes: Uint8Array,
  at: number,
): void {
  const low = qMin - after;
  const high = qMax - after;
  if (mode === 'halfEven') {
    for (let i = from; i < to; i++) {
      let q = quotient[i]! + HALF_EVEN - HALF_EVEN;
      if (q < low) q = low;
      else if (q > high) q = high;
      codes[at + i] = q - low;
    }
    return;
  }
  const half = mode === 'halfAway' ? 0.5 : 1;
  for (let i = from; i < to; i++) {
    const t = quotient[i]!;
    let q = Math.trunc(t);
    if (Math.abs(t - q) >= half) q += t < 0 ? -1 : 1;
    if (q < low) q = low;
    else if (q > high) q = high;
    codes[at + i] = q - low;
  }
}
