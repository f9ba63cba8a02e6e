/** Which values are kept apart. Thresholds are those of a whole matrix, so that its tiles agree. */
import { RecipeError } from '../../errors.ts';

/**
 * Static outlier columns: those whose inputs have the largest magnitudes in calibration. Ascending; of equal magnitudes the first.
 * @param absmax [cols], the statistic of that name
 * @param choice so many columns, or those that reach a threshold (LLM.int8() has 6)
 */
export function outlierColumns(absmax: Float32Array, choice: { count: number } | { threshold: number }): Int32Array {
  const columns = Int32Array.from(absmax.keys());
  if ('threshold' in choice) return columns.filter((c) => absmax[c]! >= choice.threshold);
  const { count } = choice;
  if (!Number.isInteger(count) || count < 0 || count > absmax.length) {
    throw new RecipeError({ what: 'not a number of outlier columns', value: count, limit: `0..${absmax.length}` });
  }
  return columns
    .sort((a, b) => absmax[b]! - absmax[a]! || a - b)
    .slice(0, count)
    .sort();
}

/**
 * SqueezeLLM's threshold for `percent` of a matrix: the k-th largest sensitivity, k = floor(n percent / 100). What exceeds it are
 * k - 1 values, as there; Infinity where k is 0. sensitivity: [rows, cols]
 */
export function sensitivityThreshold(sensitivity: Float32Array, percent: number): number {
  if (!(percent >= 0 && percent <= 100))
    throw new RecipeError({ what: 'not a share in percent', value: percent, limit: '0..100' });
  const k = Math.floor((sensitivity.length * percent) / 100);
  return k === 0 ? Number.POSITIVE_INFINITY : sensitivity.slice().sort()[sensitivity.length - k]!;
}

/** Places of the values, zeros left out, whose sensitivity exceeds the threshold (SqueezeLLM, outliers.py). x, sensitivity: [n] */
export function outliersBySensitivity(x: Float32Array, sensitivity: Float32Array, threshold: number): Int32Array {
  return Int32Array.from(x.keys()).filter((at) => sensitivity[at]! > threshold && x[at] !== 0);
}

/** Places of the values, zeros left out, of at least this magnitude (SqueezeLLM, outliers.py). x: [n] */
export function outliersByMagnitude(x: Float32Array, threshold: number): Int32Array {
  return Int32Array.from(x.keys()).filter((at) => Math.abs(x[at]!) >= threshold && x[at] !== 0);
}

/**
 * What a loss in second order tells of single weights where gradients are not at hand: w² E[input²], the change of the output if a
 * weight were dropped. SqueezeLLM has squared gradients in its place.
 * @param x [rows, cols]
 * @param meansquare [cols]
 */
export function saliency(x: Float32Array, meansquare: Float32Array): Float32Array {
  const cols = meansquare.length;
  return x.map((value, at) => value * value * meansquare[at % cols]!);
}
