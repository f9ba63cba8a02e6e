import type { WeightTensor } from '../format/types.ts';
import { decoded, RowReader } from './row-reader.ts';

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

/** Summaries of tensors, in their order; undefined for integers. Each is read twice: for the moments, then for the outliers. */
export async function valueSummaries(tensors: readonly WeightTensor[]): Promise<(ValueSummary | undefined)[]> {
  const reader = new RowReader();
  try {
    const summaries: (ValueSummary | undefined)[] = [];
    for (const tensor of tensors) summaries.push(await summary(reader, tensor));
    return summaries;
  } finally {
    await reader.close();
  }
}

async function summary(reader: RowReader, { stored }: WeightTensor): Promise<ValueSummary | undefined> {
  const each = (visit: (values: Float32Array) => void) =>
    reader.walk([stored], ({ kernels, rows: [rows] }) => {
      if (!rows!.decodable) return 'integers';
      visit(decoded(kernels, rows!, stored.cols));
      return undefined;
    });
  let finite = 0;
  let nonFinite = 0;
  let sum = 0;
  let squares = 0;
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  const integers = await each((values) => {
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
  if (integers || finite === 0) return undefined;
  const mean = sum / finite;
  const standardDeviation = Math.sqrt(Math.max(0, squares / finite - mean * mean));
  let outliers = 0;
  await each((values) => {
    for (const x of values) if (Number.isFinite(x) && Math.abs(x - mean) > 6 * standardDeviation) outliers++;
  });
  return { min, max, absmax: Math.max(-min, max), mean, standardDeviation, outlierRatio: outliers / finite, nonFinite };
}
