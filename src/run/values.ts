import { fetchRows } from '../format/read-rows.ts';
import { rowStep } from '../format/row-order.ts';
import type { WeightTensor } from '../format/types.ts';
import { tileTools } from './tile-tools.ts';

export interface ValueSummary {
  min: number;
  max: number;
  absmax: number;
  mean: number;
  standardDeviation: number;
  /** Share of values more than six standard deviations from the mean. */
  outlierRatio: number;
  /** NaN and Inf; the other figures leave them out. */
  nonFinite: number;
}

const STEP_VALUES = 2 ** 20;

/** Reads all values of a tensor, twice: once for the moments, once for the outliers. Undefined for integers. */
export async function valueSummary({ stored }: WeightTensor): Promise<ValueSummary | undefined> {
  const { kernels, open } = await tileTools();
  let finite = 0;
  let nonFinite = 0;
  let sum = 0;
  let squares = 0;
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  const each = async (visit: (values: Float32Array) => void): Promise<boolean> => {
    const step = rowStep(STEP_VALUES, stored);
    for (let from = 0; from < stored.rows; from += step) {
      kernels.reset();
      const to = Math.min(stored.rows, from + step);
      const rows = await fetchRows(kernels, open, stored, from, to);
      if (!rows.decodable) return false;
      const count = (to - from) * stored.cols;
      const at = kernels.alloc(count * 4);
      rows.decode(0, to - from, at);
      visit(kernels.f32(at, count));
    }
    return true;
  };
  const decodable = await each((values) => {
    for (const x of values) {
      if (!Number.isFinite(x)) {
        nonFinite++;
        continue;
      }
      finite++;
      sum += x;
      squares += x * x;
      if (x < min) min = x;
      if (x > max) max = x;
    }
  });
  if (!decodable || finite === 0) return undefined;
  const mean = sum / finite;
  const deviation = Math.sqrt(Math.max(0, squares / finite - mean * mean));
  let outliers = 0;
  await each((values) => {
    for (const x of values) if (Number.isFinite(x) && Math.abs(x - mean) > 6 * deviation) outliers++;
  });
  return {
    min,
    max,
    absmax: Math.max(-min, max),
    mean,
    standardDeviation: deviation,
    outlierRatio: outliers / finite,
    nonFinite,
  };
}
