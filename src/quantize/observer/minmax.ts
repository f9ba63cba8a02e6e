import type { Limits } from '../range/types.ts';
import { batchExtremes, type Observer, seen, widest } from './types.ts';

/** The extremes of all batches: nothing is clipped, and one outlier sets the scale. */
export function minmaxObserver(): Observer {
  let all: Limits | undefined;
  return {
    name: 'minmax',
    observe(batch) {
      const found = batchExtremes(batch);
      if (found) all = widest(all, found);
    },
    limits: () => seen(all, 'minmax'),
  };
}
