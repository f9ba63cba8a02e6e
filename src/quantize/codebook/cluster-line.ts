/**
 * k-means of numbers on a line. A partition into k clusters is k - 1 cuts of the sorted values, so the best one is found exactly by
 * dynamic programming (Wang and Song, Ckmeans.1d.dp, 2011), and no start has to be guessed.
 */

import { binned, condensedPoints, type SortedPoints, sortPoints } from './sorted-points.ts';

/** Running sums of w, w x and w x² about the mean, [n + 1]: the cost of any run of points in a few operations. */
export interface Sums {
  w: Float64Array;
  wx: Float64Array;
  wxx: Float64Array;
  mean: number;
}

export function sumsOf({ value, weight }: SortedPoints): Sums {
  const n = value.length;
  let total = 0;
  let mean = 0;
  for (let i = 0; i < n; i++) {
    total += weight[i]!;
    mean += weight[i]! * value[i]!;
  }
  mean = total > 0 ? mean / total : 0;
  const w = new Float64Array(n + 1);
  const wx = new Float64Array(n + 1);
  const wxx = new Float64Array(n + 1);
  for (let i = 0; i < n; i++) {
    const x = value[i]! - mean;
    w[i + 1] = w[i]! + weight[i]!;
    wx[i + 1] = wx[i]! + weight[i]! * x;
    wxx[i + 1] = wxx[i]! + weight[i]! * x * x;
  }
  return { w, wx, wxx, mean };
}

/** The mean of the points [from, to). */
export function centerOf({ w, wx, mean }: Sums, from: number, to: number): number {
  return mean + (wx[to]! - wx[from]!) / (w[to]! - w[from]!);
}

/**
 * The k centers of least Σ w (x - center)², ascending; fewer points than k give their values, the last one repeated. O(k n log n)
 * time and k n numbers of memory: for long inputs `binned` first.
 */
export function bestCenters(points: SortedPoints, k: number): Float64Array {
  const n = points.value.length;
  const centers = new Float64Array(k);
  if (n === 0) return centers;
  if (n <= k) {
    centers.set(points.value);
    return centers.fill(points.value[n - 1]!, n);
  }
  const sums = sumsOf(points);
  const cuts = bestCuts(sums, n, k);
  for (let c = 0; c < k; c++) centers[c] = centerOf(sums, cuts[c]!, cuts[c + 1]!);
  return centers;
}

/** Where the clusters begin, [k + 1], the last is n. Rows of the table are filled by halving, as the best cut rises with the end. */
function bestCuts({ w, wx, wxx }: Sums, n: number, k: number): Int32Array {
  let before = new Float64Array(n + 1);
  let now = new Float64Array(n + 1);
  const starts = new Int32Array(k * (n + 1)); // [k, n + 1]: where the last cluster of the best partition begins
  for (let end = 1; end <= n; end++) before[end] = wxx[end]! - (wx[end]! * wx[end]!) / w[end]!;
  const stack = new Int32Array(4 * 64);
  for (let c = 1; c < k; c++) {
    const row = starts.subarray(c * (n + 1), (c + 1) * (n + 1));
    // [first end, last end, lowest start, highest start], c + 1 clusters need as many points.
    let top = 0;
    stack[top++] = c + 1;
    stack[top++] = n;
    stack[top++] = c;
    stack[top++] = n - 1;
    while (top > 0) {
      const high = stack[--top]!;
      const low = stack[--top]!;
      const last = stack[--top]!;
      const first = stack[--top]!;
      const end = (first + last) >> 1;
      const limit = Math.min(high, end - 1);
      const we = w[end]!;
      const wxe = wx[end]!;
      let least = Number.POSITIVE_INFINITY;
      let best = low;
      for (let start = low; start <= limit; start++) {
        const sum = wxe - wx[start]!;
        const cost = before[start]! - wxx[start]! - (sum * sum) / (we - w[start]!);
        if (cost < least) {
          least = cost;
          best = start;
        }
      }
      now[end] = least + wxx[end]!;
      row[end] = best;
      if (first < end) {
        stack[top++] = first;
        stack[top++] = end - 1;
        stack[top++] = low;
        stack[top++] = best;
      }
      if (end < last) {
        stack[top++] = end + 1;
        stack[top++] = last;
        stack[top++] = best;
        stack[top++] = high;
      }
    }
    [before, now] = [now, before];
  }
  const cuts = new Int32Array(k + 1);
  cuts[k] = n;
  for (let c = k - 1; c > 0; c--) cuts[c] = starts[c * (n + 1) + cuts[c + 1]!]!;
  return cuts;
}

export interface LloydResult {
  /** Ascending, [k]. */
  centers: Float64Array;
  /** Σ w (x - center)² */
  error: number;
  iterations: number;
}

/**
 * Lloyd's iteration from given centers until no point changes its cluster: nearest center (a tie goes to the lower one), then the mean.
 * A cluster without points keeps its center.
 */
export function lloyd(points: SortedPoints, start: ArrayLike<number>, most = 1000): LloydResult {
  const sums = sumsOf(points);
  const { value } = points;
  const k = start.length;
  const centers = Float64Array.from(start).sort();
  const cuts = new Int32Array(k + 1);
  cuts[k] = value.length;
  let iterations = 0;
  for (let moved = true; moved && iterations < most; ) {
    moved = false;
    iterations++;
    for (let c = 1; c < k; c++) {
      const cut = countUpTo(value, (centers[c - 1]! + centers[c]!) / 2);
      if (cut !== cuts[c]) moved = true;
      cuts[c] = cut;
    }
    if (iterations === 1) moved = true;
    for (let c = 0; c < k; c++) if (cuts[c + 1]! > cuts[c]!) centers[c] = centerOf(sums, cuts[c]!, cuts[c + 1]!);
  }
  return { centers, error: lineError(points, centers), iterations };
}

/** Σ w (x - nearest center)² for ascending centers. */
export function lineError({ value, weight }: SortedPoints, centers: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0, c = 0; i < value.length; i++) {
    while (c + 1 < centers.length && Math.abs(value[i]! - centers[c + 1]!) < Math.abs(value[i]! - centers[c]!)) c++;
    const error = value[i]! - centers[c]!;
    sum += weight[i]! * error * error;
  }
  return sum;
}

/** How many of the ascending values are at most `limit`. */
function countUpTo(value: Float64Array, limit: number): number {
  let low = 0;
  let high = value.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (value[middle]! <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Points up to which the exact solution costs less than a few milliseconds at 16 centers. */
const EXACT = 2048;

/** Numbers up to which all of them are sorted: that takes a hundred bytes each. */
const SORTED = 2 ** 18;

/**
 * k centers for numbers: the exact optimum of up to 2048 distinct values; of more, the optimum of 2048 bins, then Lloyd's iteration
 * on all of them (of more than 2^18 on `condensedPoints`). Ascending, [k].
 */
export function centersOf(x: ArrayLike<number>, k: number, weights?: ArrayLike<number>): Float64Array {
  const points = x.length <= SORTED ? sortPoints(x, weights) : condensedPoints(x, weights);
  if (points.value.length <= EXACT) return bestCenters(points, k);
  return lloyd(points, bestCenters(binned(points, EXACT), k), 100).centers;
}
