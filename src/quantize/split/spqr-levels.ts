/** Levels of SpQR: a group's scale and float zero without its likely outliers, and both of 16 rows quantized again (section 4.2). */
import { halfEven } from '../../numeric/rounding.ts';

const { fround } = Math;

/** x̂ = scale (q - zero), q = clamp(round(x / scale + zero)); zero is not an integer. */
export interface SpqrLevel {
  scale: number;
  zero: number;
}

/** As spqr_engine.py has it: divisions never see less. */
const LEAST_SCALE = 1e-9;

export function spqrCode(x: number, { scale, zero }: SpqrLevel, most: number): number {
  return Math.max(0, Math.min(halfEven(x / Math.max(scale, LEAST_SCALE) + zero), most));
}

/** The level that reaches from min to max, without 0 where the values do not contain it; of equal values that of [-1, 1]. */
export function reachingLevel(min: number, max: number, most: number): SpqrLevel {
  const [low, high] = min === max ? [-1, 1] : [min, max];
  const scale = fround(fround(high - low) / most);
  return { scale, zero: fround(-low / scale) };
}

/**
 * The level of a group without the values whose absence lowers its error by more than `threshold`: leave one out, section 4.1 and
 * algorithm 1. Their places hold the mean of the others, which is no limit.
 * @param w [n]
 * @param weight [n]: 1 / U_kk², what a squared error counts
 */
export function levelWithoutOutliers(w: Float64Array, weight: Float64Array, threshold: number, most: number): SpqrLevel {
  const all = extremesWithout(w, -1);
  const whole = reachingLevel(all.min, all.max, most);
  const errorOf = (level: SpqrLevel, without: number): number => {
    let sum = 0;
    for (let i = 0; i < w.length; i++) if (i !== without) sum += squared(w[i]!, level, most) * weight[i]!;
    return sum;
  };
  const base = errorOf(whole, -1);
  let count = 0;
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < w.length; i++) {
    const value = w[i]!;
    // Only an extreme changes the level of the others.
    let gain = squared(value, whole, most) * weight[i]!;
    if (value === all.min || value === all.max) {
      const rest = extremesWithout(w, i);
      gain = base - errorOf(reachingLevel(rest.min, rest.max, most), i);
    }
    if (gain > threshold) continue;
    count++;
    min = Math.min(min, value);
    max = Math.max(max, value);
  }
  return count === 0 ? reachingLevel(0, 0, most) : reachingLevel(min, max, most);
}

function extremesWithout(w: Float64Array, without: number): { min: number; max: number } {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < w.length; i++) {
    if (i === without) continue;
    if (w[i]! < min) min = w[i]!;
    if (w[i]! > max) max = w[i]!;
  }
  return w.length === 1 && without === 0 ? { min: 0, max: 0 } : { min, max };
}

function squared(x: number, level: SpqrLevel, most: number): number {
  const error = x - level.scale * (spqrCode(x, level, most) - level.zero);
  return error * error;
}

/** Scales or zeros of a tile in few bits: value = scale (code - zero), scale and zero shared by `rows` rows of one group. */
export interface QuantizedLevels {
  bits: number;
  rows: number;
  groups: number;
  /** [tile rows, groups] */
  codes: Uint8Array;
  /** [ceil(tile rows / rows), groups] */
  scale: Float32Array;
  zero: Float32Array;
}

export function emptyLevels(bits: number, rows: number, tileRows: number, groups: number): QuantizedLevels {
  const count = Math.ceil(tileRows / rows) * groups;
  return {
    bits,
    rows,
    groups,
    codes: new Uint8Array(tileRows * groups),
    scale: new Float32Array(count),
    zero: new Float32Array(count),
  };
}

/** Quantizes the values [tile rows, groups] of one group in place, `levels.rows` rows at a time. */
export function quantizeLevels(values: Float32Array, group: number, levels: QuantizedLevels, cast: (x: number) => number): void {
  const { groups } = levels;
  const most = 2 ** levels.bits - 1;
  const tileRows = values.length / groups;
  for (let from = 0, block = 0; from < tileRows; from += levels.rows, block++) {
    const to = Math.min(from + levels.rows, tileRows);
    let min = Number.POSITIVE_INFINITY;
    let max = Number.NEGATIVE_INFINITY;
    for (let row = from; row < to; row++) {
      min = Math.min(min, values[row * groups + group]!);
      max = Math.max(max, values[row * groups + group]!);
    }
    const exact = reachingLevel(min, max, most);
    const level = { scale: cast(exact.scale), zero: cast(exact.zero) };
    levels.scale[block * groups + group] = level.scale;
    levels.zero[block * groups + group] = level.zero;
    for (let row = from; row < to; row++) {
      const at = row * groups + group;
      const code = spqrCode(values[at]!, level, most);
      levels.codes[at] = code;
      values[at] = fround(level.scale * fround(code - level.zero));
    }
  }
}
