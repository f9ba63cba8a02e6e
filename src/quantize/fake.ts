import { errorOf, type QuantizationError } from './error.ts';
import { type MatrixOptions, quantizeMatrix } from './quantize-matrix.ts';
import type { MatrixScheme } from './scheme.ts';

/** Fake quantization: the values a model computes with after quantization, still as floats, and what they lost. x: [rows, cols]. */
export function fakeQuantize(
  x: Float32Array,
  shape: readonly [rows: number, cols: number],
  scheme: MatrixScheme,
  name = 'matrix',
  options: MatrixOptions = {},
): { values: Float32Array; error: QuantizationError } {
  const { tile, dequantized } = quantizeMatrix(x, shape, scheme, name, options);
  return { values: dequantized(), error: errorOf(x, tile) };
}
