/** Equal bins over f32 values, with the edges and the counts that NumPy finds. */
import { LimitError, RecipeError } from '../../errors.ts';

const { fround } = Math;

export interface Bins {
  /** [n] */
  counts: Float64Array;
  /** [n + 1], ascending. */
  edges: Float32Array;
}

export function checkBins(bins: number, least: number): void {
  if (Number.isInteger(bins) && bins >= least && bins <= 65_536) return;
  throw new RecipeError({ what: 'not a number of bins', value: bins, limit: `${least}..65536` });
}

/** n bins between `from` and `to`; between equal ends they are one wide in all (`numpy.linspace` in f32). */
export function emptyBins(from: number, to: number, n: number): Bins {
  const [first, last] = from === to ? [fround(from - 0.5), fround(to + 0.5)] : [from, to];
  const step = fround(fround(last - first) / n);
  const edges = Float32Array.from({ length: n + 1 }, (_, i) => fround(i * step) + first);
  edges[n] = last;
  return { counts: new Float64Array(n), edges };
}

/** Counts the values in [edges[i], edges[i + 1]); the last bin holds its end too. Values outside are left out. */
export function count(values: Float32Array, { counts, edges }: Bins): void {
  const n = counts.length;
  const first = edges[0]!;
  const last = edges[n]!;
  const perValue = n / (last - first);
  for (const x of values) {
    if (x < first || x > last) continue;
    let i = Math.min(Math.floor((x - first) * perValue), n - 1);
    while (i > 0 && x < edges[i]!) i--;
    while (i < n - 1 && x >= edges[i + 1]!) i++;
    counts[i]!++;
  }
}

/** The first bin whose cumulative share of all counts reaches `share`; the number of bins where rounding lets none. */
export function binOfShare(counts: Float64Array, share: number): number {
  const total = counts.reduce((sum, c) => sum + c, 0);
  let cumulative = 0;
  for (let i = 0; i < counts.length; i++) {
    cumulative += counts[i]! / total;
    if (cumulative >= share) return i;
  }
  return counts.length;
}

/** The bound on what batches can make a histogram grow to: the first one sets the width of its bins. */
export function checkGrowth(bins: number, most: number): void {
  if (bins <= most) return;
  throw new LimitError({
    what: 'a batch is so much wider than the first that its histogram would have too many bins',
    value: bins,
    limit: most,
    next: 'observe the widest batch first, or choose the observer histogram or minmax',
  });
}
