/** What a scheme leaves of a matrix: encoded by the bytes of a run and decoded again. */
import { decodeRows, encodeRows as encodeBlocks } from '../../kernels/index.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import { dequantizeTile } from '../../quantize/dequantize.ts';
import { encodeRows, schemeSurveys, surveyScheme } from '../../quantize/kinds/encode.ts';
import type { InputStatistics } from '../../quantize/kinds/types.ts';
import { isWeightScheme, type Scheme } from '../../quantize/scheme.ts';

/**
 * Rounded to nearest; feedback, where the recipe asks for it, comes with the run.
 * @param x [rows, cols] in the order of the model
 * @returns [rows, cols]
 */
export function roundTrip(
  kernels: Kernels,
  scheme: Scheme,
  x: Float32Array,
  cols: number,
  name: string,
  inputs: InputStatistics = {},
): Float32Array {
  if (scheme.kind === 'keep') return x;
  if (scheme.kind === 'storage')
    return decodeRows(kernels, scheme.type, encodeBlocks(kernels, scheme.type, x, cols, inputs.meansquare), x.length);
  const rows = x.length / cols;
  const place = { name, shape: [rows, cols] as const, from: 0, to: rows };
  const survey = isWeightScheme(scheme) && schemeSurveys(scheme) ? surveyScheme(x, place, scheme, inputs) : {};
  return dequantizeTile(encodeRows(x, place, scheme, inputs, survey));
}
