/** Quantization to values in place, as searches try it many times. */

import { HALF_EVEN } from '../codes.ts';
import { dequantizeTile } from '../dequantize.ts';
import { runLength } from '../granularity.ts';
import { quantizeRows } from '../quantize-matrix.ts';
import type { MatrixScheme } from '../scheme.ts';

/** w [rows, cols] becomes ŵ. */
export interface RoundTrip {
  (w: Float32Array, cols: number): void;
  /** Values of a row that share a scale. */
  group(cols: number): number;
}

/** Any scheme, by the quantizer itself. */
export function schemeRoundTrip(scheme: MatrixScheme, name = 'matrix'): RoundTrip {
  const apply = (w: Float32Array, cols: number) => {
    const rows = w.length / cols;
    w.set(dequantizeTile(quantizeRows(w, { name, shape: [rows, cols], from: 0, to: rows }, scheme)));
  };
  return Object.assign(apply, { group: (cols: number) => runLength(scheme.granularity, cols, name) });
}

export interface AwqGrid {
  bits: number;
  group: number;
  /** Asymmetric with an integer zero point (default true). */
  zeroPoint?: boolean;
}

/**
 * pseudo_quantize_tensor of llm-awq and AutoAWQ, in the f32 of torch:
 * zero point  s = max(max - min, 1e-5) / (2^b - 1), z = clamp(-round(min / s)); the range need not contain 0
 * symmetric   s = max(absmax, 1e-5) / (2^(b-1) - 1) on [-2^(b-1), 2^(b-1) - 1]
 */
export function awqRoundTrip({ bits, group, zeroPoint = true }: AwqGrid): RoundTrip {
  const f = Math.fround;
  const [low, high] = zeroPoint ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
  const least = f(1e-5);
  const apply = (w: Float32Array) => {
    for (let at = 0; at < w.length; at += group) {
      let min = w[at]!;
      let max = min;
      for (let i = at + 1; i < at + group; i++) {
        const x = w[i]!;
        if (x < min) min = x;
        else if (x > max) max = x;
      }
      const range = zeroPoint ? f(max - min) : Math.max(Math.abs(min), Math.abs(max));
      const scale = f(Math.max(range, least) / high);
      const zero = zeroPoint ? Math.max(0, Math.min(-(f(min / scale) + HALF_EVEN - HALF_EVEN), high)) : 0;
      for (let i = at; i < at + group; i++) {
        let q = f(w[i]! / scale) + HALF_EVEN - HALF_EVEN + zero;
        if (q < low) q = low;
        else if (q > high) q = high;
        w[i] = (q - zero) * scale;
      }
    }
  };
  return Object.assign(apply, { group: () => group });
}
