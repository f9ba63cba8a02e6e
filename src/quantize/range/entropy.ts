import { HALF_EVEN } from '../codes.ts';
import { baseOf } from './base.ts';
import { describeRatios, type Step, searchClip } from './clip-search.ts';
import { extremes } from './minmax.ts';
import type { Range, RangeContext } from './types.ts';

/** Bins that hold fewer values on average would measure chance. */
const VALUES_A_BIN = 8;
/** Steps of fewer bins than this have no shape to lose. */
const BINS_A_CODE = 2;
const MOST_BINS = 1024;
/** The count of a bin in use whose code has nothing inside, so that the divergence stays finite; onnxruntime's. */
const EPSILON = 1e-4;

/**
 * Shrinks both limits by the ratio of least KL(p || q): p the histogram of the values with what is clipped added to the outermost
 * bins, q the values inside, spread evenly over the bins in use of each code (Migacz, 8-bit inference with TensorRT, GTC 2017). The
 * observer of that name searches intervals of whole bins with onnxruntime's roundings of counts, which small groups do not survive.
 */
export const entropy: Range = {
  name: 'entropy',
  schemes: 'both',
  options: ['steps', 'base'],
  describe(context) {
    const least = VALUES_A_BIN * BINS_A_CODE * 2 * context.grid.half;
    const what = `limits r min, r max with the r of least KL between histograms, ${describeRatios(context.options)}`;
    return `${what} (r = 1 below ${least} values); ${baseOf(context).describe(context)}`;
  },
  limits(values, from, to, context) {
    const all = extremes(values, from, to);
    const n = Math.min(Math.floor((to - from) / VALUES_A_BIN), MOST_BINS);
    const width = (all.max - all.min) / n;
    if (n < BINS_A_CODE * 2 * context.grid.half || !(width > 0)) return all;
    const counts = new Float64Array(n);
    for (let i = from; i < to; i++) counts[Math.min(Math.floor((values[i]! - all.min) / width), n - 1)]!++;
    const centers = Float64Array.from(counts, (_, i) => all.min + (i + 0.5) * width);
    const spread = new Float64Array(n);
    return searchClip(all, context, (step) => divergence(counts, centers, step, context, spread));
  },
  scale: (limits, context) => baseOf(context).scale(limits, context),
};

/** KL(p || q) of the bins whose centers have a code. spread: [n], overwritten */
function divergence(
  counts: Float64Array,
  centers: Float64Array,
  step: Step,
  { grid }: RangeContext,
  spread: Float64Array,
): number {
  const codeOf = (i: number): number => centers[i]! / step.scale + step.shift + HALF_EVEN - HALF_EVEN;
  const n = counts.length;
  let first = 0;
  while (first < n && codeOf(first) < grid.qMin) first++;
  let last = n - 1;
  while (last >= first && codeOf(last) > grid.qMax) last--;
  if (last < first) return Number.POSITIVE_INFINITY;

  const outside = (a: number, b: number): number => counts.subarray(a, b).reduce((sum, c) => sum + c, 0);
  const below = outside(0, first);
  const above = outside(last + 1, n);
  const total = counts.reduce((sum, c) => sum + c, 0);
  const inside = total - below - above;
  const massOf = (i: number): number => counts[i]! + (i === first ? below : 0) + (i === last ? above : 0);

  for (let start = first; start <= last; ) {
    const code = codeOf(start);
    let end = start;
    let mass = 0;
    let used = 0;
    for (; end <= last && codeOf(end) === code; end++) {
      mass += counts[end]!;
      if (massOf(end) > 0) used++;
    }
    spread.fill(used > 0 ? mass / used : 0, start, end);
    start = end;
  }
  if (inside === 0) return Number.POSITIVE_INFINITY;
  let sum = 0;
  for (let i = first; i <= last; i++) {
    const mass = massOf(i);
    if (mass > 0) sum += (mass / total) * Math.log((mass * inside) / ((spread[i]! || EPSILON) * total));
  }
  return sum;
}
