import type { Limits } from '../range/types.ts';
import { type Bins, checkBins, count, emptyBins } from './bins.ts';
import { batchExtremes, type Observer, type ObserverOptions, seen, widest } from './types.ts';

/** Into how many parts an old bin is divided before it moves to wider bins. */
const PARTS = 16;
/** How much of the values one step of the search cuts off. */
const QUANTILE_STEP = 1e-5;

/**
 * The interval of least squared error on a histogram whose number of bins stays: tails are cut off from the side that has more empty
 * bins for its share, as long as the error falls (torch.ao.quantization, HistogramObserver).
 */
export function histogramObserver({ bins = 2048, codes = 256 }: ObserverOptions = {}): Observer {
  checkBins(bins, 2);
  checkBins(codes, 2);
  let histogram: Histogram | undefined;
  return {
    name: 'histogram',
    observe(batch) {
      const found = batchExtremes(batch);
      if (!found) return;
      histogram = moved(histogram, found, bins);
      count(batch, histogram);
    },
    limits() {
      const { counts, extremes } = seen(histogram, 'histogram');
      const { min, max } = extremes;
      const { first, last } = search(counts, codes);
      const at = (bin: number) => Math.fround(min + ((max - min) / bins) * bin);
      return { min: at(first), max: at(last + 1) };
    },
  };
}

/** The outermost edges are the extremes, unless these are equal. */
interface Histogram extends Bins {
  extremes: Limits;
}

/** The old counts in bins that also hold `found`: each part of an old bin goes where its middle lies. */
function moved(old: Histogram | undefined, found: Limits, bins: number): Histogram {
  const extremes = widest(old?.extremes, found);
  const { min, max } = extremes;
  if (old && min === old.extremes.min && max === old.extremes.max) return old;
  const next = { ...emptyBins(min, max, bins), extremes };
  if (!old) return next;
  const part = (old.extremes.max - old.extremes.min) / (bins * PARTS);
  let at = 0;
  for (let i = 0; i < bins * PARTS; i++) {
    const middle = old.extremes.min + (i + 0.5) * part;
    while (at < bins - 1 && next.edges[at + 1]! <= middle) at++;
    next.counts[at]! += old.counts[Math.floor(i / PARTS)]! / PARTS;
  }
  return next;
}

interface Interval {
  first: number;
  last: number;
}

function search(counts: Float64Array, codes: number): Interval {
  const upTo = counts.slice(); // counts in bins [0, i]
  for (let i = 1; i < upTo.length; i++) upTo[i]! += upTo[i - 1]!;
  const total = upTo[upTo.length - 1]!;
  let best: Interval = { first: 0, last: counts.length - 1 };
  let least = Number.POSITIVE_INFINITY;
  let low = 0;
  let high = 1;
  while (low < high) {
    let { first, last } = best;
    while (first < best.last && upTo[first]! < (low + QUANTILE_STEP) * total) first++;
    while (last > best.first && upTo[last]! > (high - QUANTILE_STEP) * total) last--;
    let next: Interval;
    if (first - best.first > best.last - last) {
      next = { first, last: best.last };
      low += QUANTILE_STEP;
    } else {
      next = { first: best.first, last };
      high -= QUANTILE_STEP;
    }
    if (next.first === best.first && next.last === best.last) continue;
    const error = squaredError(counts, next, codes);
    if (error > least) break;
    least = error;
    best = next;
  }
  return best;
}

/**
 * Σ count ∫ (x - x̂)² dx with widths in bins, where [first, last] is divided among `codes` steps, each standing for its middle. Between
 * the middles of two steps the integral is that of the whole steps between, plus what is left at either end.
 */
function squaredError(counts: Float64Array, { first, last }: Interval, codes: number): number {
  const step = (last - first + 1) / codes;
  const whole = 2 * antiderivative(step / 2);
  const stepOf = (x: number) => Math.max(0, Math.min(Math.floor(x / step), codes - 1));
  let error = 0;
  for (let i = 0; i < counts.length; i++) {
    const begin = i - first;
    const from = stepOf(begin);
    const to = stepOf(begin + 1);
    const ends = antiderivative(begin + 1 - (to + 0.5) * step) - antiderivative(begin - (from + 0.5) * step);
    error += counts[i]! * (ends + (to - from) * whole);
  }
  return error;
}

/** Of x². */
function antiderivative(x: number): number {
  return (x * x * x) / 3;
}
