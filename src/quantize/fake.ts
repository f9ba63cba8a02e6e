import { errorOf, type QuantizationError } from './error.ts';
import type { MatrixScheme } from './scheme.ts';
import { type MatrixOptions, quantizeMatrix } from './whole-matrix.ts';

/** Fake quantization: the values a model computes with after quantization, still as floats, and what they lost. x: [rows, cols]. */
export function fakeQuantize(
  x: Float32Array,
  shape: readonly [rows: number, cols: number],
  scheme: MatrixScheme,
  options: MatrixOptions | string = {},
): { values: Float32Array; error: QuantizationError } {
  const { tile, dequantized } = quantizeMatrix(x, shape, scheme, options);
  return { values: dequantized(), error: errorOf(x, tile) };
}
