/**
 * How the legacy block types find scale, minimum and codes of one block [32]: directly, or by a weighted search when an
 * importance matrix is given. After ggml-quants.c (quantize_row_q4_0_ref and its siblings).
 */
import { castInt8 } from './blocks.ref.ts';
import { fitAffine, fitSymmetric } from './k-common.ref.ts';

const f = Math.fround;

export interface Found {
  scale: number;
  /** The value of code 0; 0 for symmetric types. */
  min: number;
  codes: Uint8Array; // [block], unsigned
}

/** The value of largest magnitude, with its sign; the first one where magnitudes tie, +0 where all are zero. */
export function signedExtreme(x: Float32Array): number {
  let extreme = 0;
  for (const v of x) if (Math.abs(extreme) < Math.abs(v)) extreme = v;
  return extreme;
}

/** The extreme gets the code 0, so the scale may be negative: code = trunc(x / scale + half + 0.5), at most 2 half - 1. */
export function fromExtreme(x: Float32Array, half: number): Found {
  const scale = f(signedExtreme(x) / -half);
  const inverse = scale !== 0 ? f(1 / scale) : 0;
  const codes = Uint8Array.from(x, (v) => Math.min(2 * half - 1, castInt8(f(f(v * inverse) + (half + 0.5)))));
  return { scale, min: 0, codes };
}

/** The minimum gets the code 0, the maximum the code `top`. */
export function fromRange(x: Float32Array, top: number): Found {
  let [min, max] = [x[0], x[0]];
  for (const v of x) {
    if (v < min) min = v;
    if (v > max) max = v;
  }
  const scale = f(f(max - min) / top);
  const inverse = scale !== 0 ? f(1 / scale) : 0;
  const codes = Uint8Array.from(x, (v) => Math.min(top, castInt8(f(f(f(v - min) * inverse) + 0.5))));
  return { scale, min, codes };
}

/** The weighted search for the same grid, for an importance matrix. */
export function searchScale(x: Float32Array, half: number, weights: Float32Array): Found {
  const codes = new Uint8Array(x.length);
  return { scale: fitSymmetric(x, half, codes, weights), min: 0, codes };
}

/** The weighted search for scale and minimum <= 0: 37 stretched ranges. */
export function searchScaleAndMin(x: Float32Array, top: number, weights: Float32Array): Found {
  const codes = new Uint8Array(x.length);
  const { scale, min } = fitAffine(x, weights, codes, { max: top, from: -0.9, step: 0.05, steps: 36 });
  return { scale, min: -min, codes };
}
