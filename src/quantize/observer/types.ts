/**
 * An observer watches the activations of one place batch by batch and answers which interval its codes should cover. Scale and
 * zero point follow from that interval by the formulas of range/.
 */
import { NumericError } from '../../errors.ts';
import { checkFinite } from '../check.ts';
import { extremes } from '../range/minmax.ts';
import type { Limits } from '../range/types.ts';

export type ObserverName = 'minmax' | 'moving-average' | 'histogram' | 'percentile' | 'entropy';

/** Parameters of the observers that have some; the others ignore them. */
export interface ObserverOptions {
  /** moving-average: the weight of a new batch (default 0.01). */
  constant?: number;
  /** histogram, percentile (default 2048), entropy (default 128): bins of the first histogram. */
  bins?: number;
  /** histogram: codes among which the interval is divided (default 256); entropy: steps in which bins are merged (default 128). */
  codes?: number;
  /** percentile: share of the values that stays inside, in percent (default 99.999). */
  percentile?: number;
  /** percentile: of |x| (default), or of x with half of the rest cut at either end. */
  symmetric?: boolean;
}

export interface Observer {
  readonly name: ObserverName;
  /**
   * Takes in a batch of any shape; an empty one changes nothing.
   * @throws NumericError for NaN and infinities, LimitError where a histogram would outgrow its bound
   */
  observe(batch: Float32Array): void;
  /** @throws NumericError before the first value */
  limits(): Limits;
}

/** The extremes of a batch; undefined for an empty one. NumericError for NaN and infinities. */
export function batchExtremes(batch: Float32Array): Limits | undefined {
  if (batch.length === 0) return undefined;
  checkFinite(batch, 'activations', 0, batch.length);
  return extremes(batch, 0, batch.length);
}

export function widest(a: Limits | undefined, b: Limits): Limits {
  return a ? { min: Math.min(a.min, b.min), max: Math.max(a.max, b.max) } : b;
}

/** What an observer knows, or NumericError where it has seen nothing. */
export function seen<T>(known: T | undefined, name: ObserverName): T {
  if (known !== undefined) return known;
  throw new NumericError({ what: 'an observer has seen no values', where: name, next: 'give it at least one batch' });
}
