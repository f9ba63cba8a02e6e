/** The reductions of assembly/reductions.ts, one value at a time. */

/** Index of the first NaN or Inf, or -1. x: [n] */
export function firstNonfinite(x: Float32Array): number {
  return x.findIndex((v) => !Number.isFinite(v));
}

/** x: [n] finite; [Infinity, -Infinity] for n = 0. */
export function minmax(x: Float32Array): [min: number, max: number] {
  let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const v of x) {
    if (v < min) min = v;
    if (v > max) max = v;
  }
  return [min, max];
}

/** The largest magnitude. x: [n] finite */
export function absmax(x: Float32Array): number {
  return x.reduce((max, v) => Math.max(max, Math.abs(v)), 0);
}

/** Index of the first block whose f16 at byte `offset` is NaN or Inf, or -1. */
export function scalesFinite(blocks: Uint8Array, blockBytes: number, offset: number): number {
  for (let i = 0; (i + 1) * blockBytes <= blocks.length; i++) {
    if ((blocks[i * blockBytes + offset + 1] & 0x7c) === 0x7c) return i;
  }
  return -1;
}
