/**
 * What the K-quant references share: weights, rounding to the final grid, and ggml's four searches for a scale.
 *
 * Bytes equal to ggml's need every float operation in C's order and in f32. Math.fround around each product, sum and quotient
 * gives that: an f64 operation on f32 operands rounded once to f32 is the f32 operation.
 * Source: ggml, src/ggml-quants.c (the C name stands at each function), built without FMA contraction.
 */
import { nearestInt } from '../../numeric/rounding.ts';

export { nearestInt };

export const superBlock = 256;
/** Groups whose largest magnitude is below this are zero (GROUP_MAX_EPS). */
export const zeroBelow = Math.fround(1e-15);

const f = Math.fround;

export function clamp(x: number, low: number, high: number): number {
  return Math.max(low, Math.min(high, x));
}

/** codes[i] = round(clamp((x[i] + offset) / d)), shifted so that `low` is stored as 0: the pass after the scales are rounded. */
export function roundToGrid(
  x: Float32Array,
  d: number,
  offset: number,
  grid: { low: number; high: number },
  codes: Uint8Array,
): void {
  for (let i = 0; i < x.length; i++) codes[i] = clamp(nearestInt(f(f(x[i] + offset) / d)), grid.low, grid.high) - grid.low;
}

/** Sum of squares in order; f32. */
export function sumOfSquares(x: Float32Array): number {
  let sum = 0;
  for (const v of x) sum = f(sum + f(v * v));
  return sum;
}

/** Sum in order; f32. */
export function sum(x: Float32Array): number {
  let total = 0;
  for (const v of x) total = f(total + v);
  return total;
}

/** importance[i] * sqrt(sigma2 + x[i]^2): an importance matrix row bent towards large weights. */
export function bentImportance(x: Float32Array, importance: Float32Array, sigma2: number): Float32Array {
  return x.map((v, i) => importance[i] * f(Math.sqrt(f(sigma2 + f(v * v)))));
}

export interface AffineSearch {
  /** Largest code. */
  max: number;
  /** The tries stretch the range to max + from + step * 0..steps codes. */
  from: number;
  step: number;
  steps: number;
  /** Sum of |error| in place of error squared. */
  absolute?: boolean;
}

/**
 * x ~ scale * code - min, min >= 0, by weighted least squares over stretched ranges (make_qkx2_quants, make_qkx3_quants).
 * A better try also moves the minimum that the following tries start from.
 */
export function fitAffine(
  x: Float32Array,
  weights: Float32Array,
  codes: Uint8Array,
  search: AffineSearch,
): { scale: number; min: number } {
  const { max: top, steps, absolute } = search;
  let min = x[0];
  let max = x[0];
  let sumW = weights[0];
  let sumX = f(sumW * x[0]);
  for (let i = 1; i < x.length; i++) {
    if (x[i] < min) min = x[i];
    if (x[i] > max) max = x[i];
    sumW = f(sumW + weights[i]);
    sumX = f(sumX + f(weights[i] * x[i]));
  }
  if (min > 0) min = 0;
  if (max <= min) {
    codes.fill(0);
    return { scale: 0, min: -min };
  }

  const encode = (inverse: number, into: Uint8Array) => {
    for (let i = 0; i < x.length; i++) into[i] = clamp(nearestInt(f(inverse * f(x[i] - min))), 0, top);
  };
  const error = (scale: number, min: number, of: Uint8Array) => {
    let total = 0;
    for (let i = 0; i < x.length; i++) {
      const difference = f(f(f(scale * of[i]) + min) - x[i]);
      total = f(total + f(weights[i] * (absolute ? Math.abs(difference) : f(difference * difference))));
    }
    return total;
  };

  const first = f(top / f(max - min));
  let scale = f(1 / first);
  encode(first, codes);
  let best = error(scale, min, codes);
  const tried = new Uint8Array(x.length);
  for (let step = 0; step <= steps; step++) {
    encode(f(f(f(f(search.from) + f(f(search.step) * step)) + top) / f(max - min)), tried);
    let sumL = 0;
    let sumL2 = 0;
    let sumXL = 0;
    for (let i = 0; i < x.length; i++) {
      const wl = f(weights[i] * tried[i]);
      sumL = f(sumL + wl);
      sumL2 = f(sumL2 + f(wl * tried[i]));
      sumXL = f(sumXL + f(wl * x[i]));
    }
    const determinant = f(f(sumW * sumL2) - f(sumL * sumL));
    if (!(determinant > 0)) continue;
    let thisScale = f(f(f(sumW * sumXL) - f(sumX * sumL)) / determinant);
    let thisMin = f(f(f(sumL2 * sumX) - f(sumL * sumXL)) / determinant);
    if (thisMin > 0) {
      thisMin = 0;
      thisScale = f(sumXL / sumL2);
    }
    const thisError = error(thisScale, thisMin, tried);
    if (thisError < best) {
      codes.set(tried);
      best = thisError;
      scale = thisScale;
      min = thisMin;
    }
  }
  return { scale, min: -min };
}

/** The first value of the largest magnitude, with its sign; 0 where all are below `zeroBelow`. */
function extreme(x: Float32Array): number {
  let magnitude = 0;
  let value = 0;
  for (const v of x) {
    if (Math.abs(v) > magnitude) {
      magnitude = Math.abs(v);
      value = v;
    }
  }
  return magnitude < zeroBelow ? 0 : value;
}

/**
 * x ~ scale * (code - max), codes 0 .. 2 max - 1, by trying 19 ranges (make_qx_quants with rmse_type 1).
 * The value of largest magnitude goes to the end of the grid with one code more; the scale takes its sign. Weights default to x^2.
 */
export function fitSymmetric(x: Float32Array, max: number, codes: Uint8Array, weights?: Float32Array): number {
  const largest = extreme(x);
  if (largest === 0) {
    codes.fill(0);
    return 0;
  }
  const code = (inverse: number, i: number) => clamp(nearestInt(f(inverse * x[i])), -max, max - 1);
  const sums = (inverse: number) => {
    let lx = 0;
    let l2 = 0;
    for (let i = 0; i < x.length; i++) {
      const l = code(inverse, i);
      const w = weights ? weights[i] : f(x[i] * x[i]);
      lx = f(lx + f(f(w * x[i]) * l));
      l2 = f(l2 + f(f(w * l) * l));
    }
    return { lx, l2 };
  };

  let chosen = f(-max / largest);
  const { lx, l2 } = sums(chosen);
  let scale = l2 !== 0 ? f(lx / l2) : 0;
  let best = f(scale * lx);
  for (let step = -9; step <= 9; step++) {
    if (step === 0) continue;
    const inverse = f(-f(max + f(f(0.1) * step)) / largest);
    const { lx, l2 } = sums(inverse);
    if (l2 > 0 && f(lx * lx) > f(best * l2)) {
      chosen = inverse;
      scale = f(lx / l2);
      best = f(scale * lx);
    }
  }
  for (let i = 0; i < x.length; i++) codes[i] = code(chosen, i) + max;
  return scale;
}

/** As fitSymmetric, but one range whose codes are then changed one at a time while that helps, five sweeps (make_q3_quants). */
export function fitSymmetricByDescent(x: Float32Array, max: number, codes: Uint8Array): number {
  const largest = extreme(x);
  if (largest === 0) {
    codes.fill(0);
    return 0;
  }
  const inverse = f(-max / largest);
  const l = new Int8Array(x.length);
  let lx = 0;
  let l2 = 0;
  for (let i = 0; i < x.length; i++) {
    l[i] = clamp(nearestInt(f(inverse * x[i])), -max, max - 1);
    const w = f(x[i] * x[i]);
    lx = f(lx + f(f(w * x[i]) * l[i]));
    l2 = f(l2 + f(f(w * l[i]) * l[i]));
  }
  for (let sweep = 0, changed = true; sweep < 5 && changed; sweep++) {
    changed = false;
    for (let i = 0; i < x.length; i++) {
      const w = f(x[i] * x[i]);
      let otherLx = f(lx - f(f(w * x[i]) * l[i]));
      if (!(otherLx > 0)) continue;
      let otherL2 = f(l2 - f(f(w * l[i]) * l[i]));
      const code = clamp(nearestInt(f(f(x[i] * otherL2) / otherLx)), -max, max - 1);
      if (code === l[i]) continue;
      otherLx = f(otherLx + f(f(w * x[i]) * code));
      otherL2 = f(otherL2 + f(f(w * code) * code));
      if (otherL2 > 0 && f(f(otherLx * otherLx) * l2) > f(f(lx * lx) * otherL2)) {
        l[i] = code;
        lx = otherLx;
        l2 = otherL2;
        changed = true;
      }
    }
  }
  for (let i = 0; i < x.length; i++) codes[i] = l[i] + max;
  return l2 > 0 ? f(lx / l2) : 0;
}

/**
 * x ~ scale * code for the scales or minima of a super-block, codes 0 .. max: nine ranges, then descent (make_qp_quants).
 * Codes are C's uint8_t: a negative one wraps.
 */
export function fitPositive(x: Float32Array, max: number, codes: Uint8Array, weights: Float32Array): number {
  let largest = 0;
  for (const v of x) if (v > largest) largest = v;
  if (largest < zeroBelow) {
    codes.fill(0);
    return 0;
  }
  const error = (inverse: number, code: (i: number) => number) => {
    const scale = f(1 / inverse);
    let total = 0;
    for (let i = 0; i < x.length; i++) {
      const difference = f(x[i] - f(scale * code(i)));
      total = f(total + f(f(weights[i] * difference) * difference));
    }
    return total;
  };

  let chosen = f(max / largest);
  let best = error(chosen, (i) => nearestInt(f(chosen * x[i])) & 255);
  for (let step = -4; step <= 4; step++) {
    if (step === 0) continue;
    const inverse = f(f(f(f(0.1) * step) + max) / largest);
    const thisError = error(inverse, (i) => Math.min(max, nearestInt(f(inverse * x[i]))));
    if (thisError < best) {
      best = thisError;
      chosen = inverse;
    }
  }
  let lx = 0;
  let l2 = 0;
  for (let i = 0; i < x.length; i++) {
    const l = Math.min(max, nearestInt(f(chosen * x[i])));
    codes[i] = l;
    lx = f(lx + f(f(weights[i] * x[i]) * l));
    l2 = f(l2 + f(f(weights[i] * l) * l));
  }
  for (let sweep = 0, changed = true; sweep < 5 && changed; sweep++) {
    changed = false;
    for (let i = 0; i < x.length; i++) {
      const wx = f(weights[i] * x[i]);
      let otherLx = f(lx - f(wx * codes[i]));
      let otherL2 = f(l2 - f(f(weights[i] * codes[i]) * codes[i]));
      if (!(otherLx > 0 && otherL2 > 0)) continue;
      const code = Math.min(max, nearestInt(f(f(x[i] * otherL2) / otherLx)));
      if (code === codes[i]) continue;
      otherLx = f(otherLx + f(wx * code));
      otherL2 = f(otherL2 + f(f(weights[i] * code) * code));
      if (f(f(otherLx * otherLx) * l2) > f(f(lx * lx) * otherL2)) {
        codes[i] = code;
        lx = otherLx;
        l2 = otherL2;
        changed = true;
      }
    }
  }
  return l2 > 0 ? f(lx / l2) : 0;
}

/** The two low bits of 256 codes in 64 zeroed bytes: of each 128, quarter q is at bits 2q of 32 bytes. */
export function packCrumbs(codes: Uint8Array, out: Uint8Array): void {
  for (let i = 0; i < superBlock; i++) out[(i >> 7) * 32 + (i & 31)] |= (codes[i] & 3) << (((i >> 5) & 3) * 2);
}

export function unpackCrumbs(packed: Uint8Array): Uint8Array {
  return Uint8Array.from({ length: superBlock }, (_, i) => (packed[(i >> 7) * 32 + (i & 31)] >> (((i >> 5) & 3) * 2)) & 3);
}
