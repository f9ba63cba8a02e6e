import { RecipeError } from '../../errors.ts';
import { entropyObserver } from './entropy.ts';
import { histogramObserver } from './histogram.ts';
import { minmaxObserver } from './minmax.ts';
import { movingAverageObserver } from './moving-average.ts';
import { percentileObserver } from './percentile.ts';
import type { Observer, ObserverName, ObserverOptions } from './types.ts';

export const observers: Readonly<Record<ObserverName, (options?: ObserverOptions) => Observer>> = {
  minmax: minmaxObserver,
  'moving-average': movingAverageObserver,
  histogram: histogramObserver,
  percentile: percentileObserver,
  entropy: entropyObserver,
};

/** A new observer of that name. @throws RecipeError when there is none, or for options outside their limits */
export function observerOf(name: string, options?: ObserverOptions): Observer {
  if (Object.hasOwn(observers, name)) return observers[name as ObserverName](options);
  const next = `choose one of ${Object.keys(observers).join(', ')}`;
  throw new RecipeError({ what: 'there is no such observer', value: name, next });
}
