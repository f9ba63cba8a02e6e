/**
 * Histograms that grow by whole bins when a batch reaches further, so that old counts stay exact (onnxruntime.quantization,
 * HistogramCollector). All arithmetic is f32, as there.
 */
import type { Limits } from '../range/types.ts';
import { type Bins, checkGrowth, count, emptyBins } from './bins.ts';
import { widest } from './types.ts';

const { fround } = Math;

export interface GrowingHistogram extends Bins {
  /** Of all values. */
  extremes: Limits;
}

/** How a batch enters a histogram; `before` is undefined for the first batch. */
export type Collect = (batch: Float32Array, found: Limits, before: GrowingHistogram | undefined) => GrowingHistogram;

/** Values between -t and t, where t is the largest magnitude. */
export function collectValues(bins: number, most: number): Collect {
  return (batch, found, before) => {
    const reach = Math.max(-found.min, found.max);
    const next = before ? widened(before, reach, most) : emptyBins(-reach, reach, bins);
    count(batch, next);
    return { ...next, extremes: widest(before?.extremes, found) };
  };
}

/** The same counts in a histogram that contains `reach`: as many bins more on either side. */
function widened(before: GrowingHistogram, reach: number, most: number): Bins {
  const { counts, extremes } = before;
  const n = counts.length;
  // Of an all-zero start the edges are those of emptyBins, and all counts are in the middle.
  if (extremes.min === 0 && extremes.max === 0 && reach > 0) return { ...emptyBins(-reach, reach, n), counts };
  const old = before.edges[n]!;
  if (reach <= old) return before;
  const stride = fround(fround(2 * old) / n);
  const gap = fround(reach - old);
  const more = Math.round((gap - (gap % stride)) / stride) + 1;
  checkGrowth(n + 2 * more, most);
  const end = fround(fround(more * stride) + old);
  const next = emptyBins(-end, end, n + 2 * more);
  next.counts.set(counts, more);
  return next;
}

/** Magnitudes between the smallest and the largest of the first batch, and beyond; smaller ones of later batches are left out. */
export function collectMagnitudes(bins: number, most: number): Collect {
  return (batch, found, before) => {
    const magnitudes = batch.map(Math.abs);
    const reach = Math.max(-found.min, found.max);
    const next = before
      ? extended(before, reach, most)
      : emptyBins(
          magnitudes.reduce((a, b) => Math.min(a, b)),
          reach,
          bins,
        );
    count(magnitudes, next);
    return { ...next, extremes: widest(before?.extremes, found) };
  };
}

/** The same counts with bins appended until `reach` is inside (`numpy.arange` in f32). */
function extended(before: GrowingHistogram, reach: number, most: number): Bins {
  const { counts, edges } = before;
  const last = edges[counts.length]!;
  if (reach <= last) return before;
  const width = fround(edges[1]! - edges[0]!);
  const start = fround(last + width);
  const more = Math.ceil(fround(fround(fround(reach + width) - start) / width));
  checkGrowth(counts.length + more, most);
  const step = fround(fround(start + width) - start);
  const next = { counts: new Float64Array(counts.length + more), edges: new Float32Array(edges.length + more) };
  next.counts.set(counts);
  next.edges.set(edges);
  for (let i = 0; i < more; i++) next.edges[edges.length + i] = start + fround(i * step);
  return next;
}
