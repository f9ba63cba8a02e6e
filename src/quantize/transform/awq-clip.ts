/** AWQ's clips: the limit ± of every group's weights that leaves the least error in the group's part of the output. */
import type { OutputLoss } from './output-loss.ts';
import type { RoundTrip } from './round-trip.ts';

export interface ClipSearch {
  /** [rows, cols] */
  readonly weight: Float32Array;
  /** Of the weight's inputs, by the groups that get a limit. */
  readonly loss: OutputLoss;
  readonly roundTrip: RoundTrip;
  /** Limits are absmax (1 - i / grid), i in [0, shrink grid): by default 20 and 0.5, ten steps of 5 %. */
  readonly grid?: number;
  readonly shrink?: number;
}

export interface ClipChoice {
  /** [rows, cols / group] */
  readonly limits: Float32Array;
  /** The loss at that limit, [rows, cols / group]. */
  readonly losses: Float64Array;
}

/** Rows that are tried at a time. */
const ROWS = 256;

/** Of equal losses the wider limit wins (llm-awq, auto_clip.py: err < best). */
export function searchClip(search: ClipSearch): ClipChoice {
  const { weight, loss } = search;
  const { cols, group } = loss;
  const rows = weight.length / cols;
  const limits = new Float32Array((rows * cols) / group);
  const losses = new Float64Array(limits.length).fill(Number.POSITIVE_INFINITY);
  for (let from = 0; from < rows; from += ROWS) {
    const to = Math.min(rows, from + ROWS);
    const part = (n: number) => [(from * cols) / n, (to * cols) / n] as const;
    searchRows(search, weight.subarray(...part(1)), limits.subarray(...part(group)), losses.subarray(...part(group)));
  }
  return { limits, losses };
}

function searchRows(
  { loss, roundTrip, grid = 20, shrink = 0.5 }: ClipSearch,
  w: Float32Array,
  limits: Float32Array,
  losses: Float64Array,
): void {
  const { cols, group } = loss;
  const absmax = limits.map((_, g) => {
    let most = 0;
    for (let i = g * group; i < (g + 1) * group; i++) most = Math.max(most, Math.abs(w[i]!));
    return most;
  });
  const error = new Float32Array(w.length);
  for (let step = 0; step < Math.floor(shrink * grid); step++) {
    const limit = absmax.map((most) => most * Math.fround(1 - step / grid));
    for (let g = 0, i = 0; g < limit.length; g++) {
      const bound = limit[g]!;
      for (const end = i + group; i < end; i++) {
        const x = w[i]!;
        error[i] = Math.max(-bound, Math.min(x, bound));
      }
    }
    roundTrip(error, cols);
    for (let i = 0; i < w.length; i++) error[i] = w[i]! - error[i]!;
    for (const [g, one] of loss.of(error).entries()) {
      if (!(one < losses[g]!)) continue;
      losses[g] = one;
      limits[g] = limit[g]!;
    }
  }
}
