import { RecipeError } from '../../errors.ts';
import type { Limits } from '../range/types.ts';
import { checkBins } from './bins.ts';
import { collectValues, type GrowingHistogram } from './growing-histogram.ts';
import { batchExtremes, type Observer, type ObserverOptions, seen } from './types.ts';

/** The search takes time in proportion to the square of the bins: some seconds for so many. */
const MAX_BINS = 2 ** 15;

/**
 * The interval around 0 whose codes keep the distribution best: least KL(p || q), where p is the histogram with its tails added to
 * the outermost bins and q the same bins merged into `codes` steps (Migacz, 8-bit inference with TensorRT, GTC 2017), as
 * onnxruntime.quantization's EntropyCalibrater computes it.
 */
export function entropyObserver({ bins = 128, codes = 128 }: ObserverOptions = {}): Observer {
  checkBins(codes, 2);
  checkBins(bins, codes);
  if (bins > MAX_BINS) throw new RecipeError({ what: 'too many bins for this search', value: bins, limit: MAX_BINS });
  const collect = collectValues(bins, MAX_BINS);
  let histogram: GrowingHistogram | undefined;
  return {
    name: 'entropy',
    observe(batch) {
      const found = batchExtremes(batch);
      if (found) histogram = collect(batch, found, histogram);
    },
    limits: () => search(seen(histogram, 'entropy'), codes),
  };
}

function search({ counts, edges, extremes }: GrowingHistogram, codes: number): Limits {
  const n = counts.length;
  const middle = Math.floor(n / 2);
  const before = cumulated(counts); // [n + 1]
  const p = new Float32Array(n);
  const q = new Float32Array(n);
  let least = Number.POSITIVE_INFINITY;
  let best = { from: middle - Math.floor(codes / 2), to: Math.min(middle + Math.floor(codes / 2) + 1, n) };
  for (let half = Math.floor(codes / 2); half <= middle; half++) {
    const from = middle - half;
    const to = Math.min(middle + half + 1, n);
    clipBins(counts, before, from, to, p);
    mergeBins(p, before, from, to, codes, q);
    const divergence = smoothedDivergence(p, q, to - from);
    if (divergence < least) {
      least = divergence;
      best = { from, to };
    }
  }
  return { min: Math.max(edges[best.from]!, extremes.min), max: Math.min(edges[best.to]!, extremes.max) };
}

/** Sums of the counts before each bin, [n + 1]. */
function cumulated(counts: Float64Array): Float64Array {
  const sums = new Float64Array(counts.length + 1);
  for (let i = 0; i < counts.length; i++) sums[i + 1] = sums[i]! + counts[i]!;
  return sums;
}

/** p = counts[from, to), with what lies outside added to its ends. */
function clipBins(counts: Float64Array, before: Float64Array, from: number, to: number, p: Float32Array): void {
  for (let i = from; i < to; i++) p[i - from] = counts[i]!;
  p[0] = p[0]! + before[from]!;
  p[to - from - 1] = p[to - from - 1]! + before[counts.length]! - before[to]!;
}

/**
 * q = the counts of [from, to) merged into `codes` runs of equal length and spread evenly again. The last step also gets the bins that
 * no run holds, whose q is 0; quotients lose their fraction: both as in the source.
 */
function mergeBins(p: Float32Array, before: Float64Array, from: number, to: number, codes: number, q: Float32Array): void {
  const size = to - from;
  const run = Math.floor(size / codes);
  q.fill(0, 0, size);
  for (let c = 0; c < codes; c++) {
    const start = c * run;
    const end = start + run;
    let used = 0;
    for (let i = start; i < end; i++) if (p[i] !== 0) used++;
    const sum = before[c === codes - 1 ? to : from + end]! - before[from + start]!;
    if (used > 0) q.fill(Math.trunc(sum / used), start, end);
  }
}

/** Zeros become ε = 0.0001, taken evenly off the others; undefined where nothing could be taken. */
function smooth(x: Float32Array, size: number): { zero: number; off: number; sum: number } | undefined {
  const epsilon = 0.0001;
  let zeros = 0;
  let sum = 0;
  for (let i = 0; i < size; i++) {
    if (x[i] === 0) zeros++;
    sum += x[i]!;
  }
  const off = (epsilon * zeros) / (size - zeros);
  return off < 1 ? { zero: epsilon, off, sum } : undefined;
}

/** KL(p || q) of the first `size` bins, both smoothed and divided by their sums (which smoothing keeps), rounded to f32. */
function smoothedDivergence(p: Float32Array, q: Float32Array, size: number): number {
  const one = smooth(p, size);
  const other = smooth(q, size);
  if (!one || !other) return Number.POSITIVE_INFINITY;
  let sum = 0;
  for (let i = 0; i < size; i++) {
    const a = (p[i] === 0 ? one.zero : p[i]! - one.off) / one.sum;
    const b = (q[i] === 0 ? other.zero : q[i]! - other.off) / other.sum;
    sum += a * Math.log(a / b);
  }
  return Math.fround(sum);
}
