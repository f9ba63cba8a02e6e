import { dequantizeTile } from './dequantize.ts';
import { errorOf, type QuantizationError } from './error.ts';
import { quantizeRows } from './quantize-matrix.ts';
import type { MatrixScheme } from './scheme.ts';

/** Fake quantization: the values a model computes with after quantization, still as floats, and what they lost. x: [rows, cols]. */
export function fakeQuantize(
  x: Float32Array,
  shape: readonly [rows: number, cols: number],
  scheme: MatrixScheme,
  name = 'matrix',
): { values: Float32Array; error: QuantizationError } {
  const tile = quantizeRows(x, { name, shape, from: 0, to: shape[0] }, scheme);
  return { values: dequantizeTile(tile), error: errorOf(x, tile) };
}
