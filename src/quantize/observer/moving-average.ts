import { RecipeError } from '../../errors.ts';
import type { Limits } from '../range/types.ts';
import { batchExtremes, type Observer, type ObserverOptions, seen } from './types.ts';

const { fround } = Math;

/**
 * Exponential averages of the extremes of batches, which start at those of the first: x += c (batch - x), in f32
 * (torch.ao.quantization, MovingAverageMinMaxObserver).
 */
export function movingAverageObserver({ constant = 0.01 }: ObserverOptions = {}): Observer {
  if (!(constant > 0 && constant <= 1)) {
    throw new RecipeError({ what: 'not a weight of a new batch', value: constant, limit: 'above 0, at most 1' });
  }
  const weight = fround(constant);
  const towards = (x: number, batch: number) => fround(x + fround(weight * fround(batch - x)));
  let average: Limits | undefined;
  return {
    name: 'moving-average',
    observe(batch) {
      const found = batchExtremes(batch);
      if (!found) return;
      average = average ? { min: towards(average.min, found.min), max: towards(average.max, found.max) } : found;
    },
    limits: () => seen(average, 'moving-average'),
  };
}
