/** AWQ's scales (Lin et al., arXiv 2306.00978, equation 5): s = mean|x|^ratio, the ratio by search on a grid. */
import type { RoundTrip } from './round-trip.ts';

export interface ScaleSearch {
  /** f32 [out, cols] of the linears that read one input. */
  readonly weights: readonly Float32Array[];
  readonly cols: number;
  /** Mean |x| of the channels that get a scale of their own, [n]. */
  readonly absmean: Float32Array;
  /** AutoAWQ's `duo_scaling`: `weightMean` of the same channels. Without it as llm-awq does. */
  readonly weightMean?: Float32Array;
  /** Scales of channels [n] -> of columns [cols]; default: they are the same. */
  readonly spread?: (scales: Float32Array) => Float32Array;
  /** Of each weight. */
  readonly roundTrips: readonly RoundTrip[];
  /** Of candidates Q(W s) / s, [out, cols] each. */
  readonly loss: (candidates: readonly Float32Array[]) => number | Promise<number>;
  /** Ratios i / grid, i in [0, grid) (20): never 1. */
  readonly grid?: number;
}

export interface ScaleChoice {
  readonly ratio: number;
  /** [n] */
  readonly scales: Float32Array;
  /** Of every ratio. */
  readonly losses: readonly number[];
}

/** Of equal losses the smaller ratio wins. */
export async function searchScale(search: ScaleSearch): Promise<ScaleChoice> {
  const { weights, cols, absmean, weightMean, spread = (s) => s, roundTrips, loss, grid = 20 } = search;
  const candidates = weights.map((w) => new Float32Array(w.length));
  const losses: number[] = [];
  let best = 0;
  for (let i = 0; i < grid; i++) {
    const s = spread(awqScales(absmean, i / grid, weightMean));
    for (const [n, w] of weights.entries()) scaledRoundTrip(w, s, cols, roundTrips[n]!, candidates[n]!);
    losses.push(await loss(candidates));
    if (losses[i]! < losses[best]!) best = i;
  }
  const ratio = best / grid;
  return { ratio, scales: awqScales(absmean, ratio, weightMean), losses };
}

/** out = Q(w s) / s, each operation in f32. w, out: [rows, cols] */
function scaledRoundTrip(w: Float32Array, s: Float32Array, cols: number, roundTrip: RoundTrip, out: Float32Array): void {
  for (let at = 0; at < w.length; at += cols) for (let c = 0; c < cols; c++) out[at + c] = w[at + c]! * s[c]!;
  roundTrip(out, cols);
  for (let at = 0; at < w.length; at += cols) for (let c = 0; c < cols; c++) out[at + c]! /= s[c]!;
}

/**
 * mean|x|^ratio, with weight means over (mean|w|^(1 - ratio) + 1e-4); at least 1e-4, then over sqrt(max min). In f32; 0^0 = 1.
 * A scale that is not finite becomes 1.
 */
export function awqScales(absmean: Float32Array, ratio: number, weightMean?: Float32Array): Float32Array {
  const f = Math.fround;
  const raw = Float32Array.from(absmean, (x, c) => {
    const power = f(x ** ratio);
    const by = weightMean ? f(f(weightMean[c]! ** (1 - ratio)) + f(1e-4)) : 1;
    return Math.max(f(power / by), f(1e-4));
  });
  let [min, max] = [Number.POSITIVE_INFINITY, 0];
  for (const s of raw) {
    min = Math.min(min, s);
    max = Math.max(max, s);
  }
  const middle = f(Math.sqrt(f(max * min)));
  return raw.map((s) => {
    const scale = f(s / middle);
    return Number.isFinite(scale) && scale > 0 ? scale : 1;
  });
}

/** AutoAWQ's w_mean: |w| over the largest of its group (+ 1e-6), mean over the rows of all linears. [cols] */
export function weightMeans(weights: readonly Float32Array[], cols: number, group: number): Float32Array {
  const sums = new Float64Array(cols);
  let rows = 0;
  for (const w of weights) {
    rows += w.length / cols;
    for (let at = 0; at < w.length; at += group) {
      let most = 0;
      for (let i = at; i < at + group; i++) most = Math.max(most, Math.abs(w[i]!));
      for (let i = at; i < at + group; i++) sums[i % cols]! += Math.abs(w[i]!) / (most + 1e-6);
    }
  }
  return Float32Array.from(sums, (sum) => sum / rows);
}
