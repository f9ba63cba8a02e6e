import { RecipeError } from '../../errors.ts';
import { binOfShare, checkBins } from './bins.ts';
import { collectMagnitudes, collectValues, type GrowingHistogram } from './growing-histogram.ts';
import { batchExtremes, type Observer, type ObserverOptions, seen } from './types.ts';

/** 32 MB of counts. */
const MAX_BINS = 2 ** 22;

/**
 * Cuts the tails of the histogram of |x|, or of x on either side, at the left edge of the bin where the share is reached; never
 * beyond the extremes (onnxruntime.quantization, PercentileCalibrater).
 */
export function percentileObserver({ percentile = 99.999, symmetric = true, bins = 2048 }: ObserverOptions = {}): Observer {
  checkBins(bins, 1);
  if (!(percentile > 0 && percentile <= 100)) {
    throw new RecipeError({ what: 'not a percentile', value: percentile, limit: 'above 0, at most 100' });
  }
  const collect = (symmetric ? collectMagnitudes : collectValues)(bins, MAX_BINS);
  let histogram: GrowingHistogram | undefined;
  return {
    name: 'percentile',
    observe(batch) {
      const found = batchExtremes(batch);
      if (found) histogram = collect(batch, found, histogram);
    },
    limits() {
      const { counts, edges, extremes } = seen(histogram, 'percentile');
      const edge = (share: number) => edges[binOfShare(counts, share)]!;
      const cut = (100 - percentile) / 200;
      const high = edge(symmetric ? percentile / 100 : 1 - cut);
      const low = symmetric ? -high : edge(cut);
      return { min: Math.max(low, extremes.min), max: Math.min(high, extremes.max) };
    },
  };
}
