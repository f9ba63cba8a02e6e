import { NumericError, RecipeError } from '../errors.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { QuantizedTile } from '../quantized/types.ts';
import { effectiveBits } from './bits.ts';
import { dequantizeTile } from './dequantize.ts';
import { quantizeRows, type TilePlace } from './quantize-matrix.ts';
import { rangeInputs } from './range/inputs.ts';
import { rangeNeeds, rangeOf } from './range/registry.ts';
import type { RangeInputs } from './range/types.ts';
import { factorizeHere } from './rounding/factorize.ts';
import { type GptqScheme, gptqRows } from './rounding/gptq-rows.ts';
import type { MatrixScheme } from './scheme.ts';
import type { Statistics } from './statistics.ts';

export interface QuantizedMatrix {
  tile: QuantizedTile;
  /** [rows, cols] */
  dequantized(): Float32Array;
  /** Bits a value, scales and zeros included. */
  effectiveBits: number;
}

export interface MatrixOptions {
  /** For messages. */
  name?: string;
  /** Of the matrix's input, for roundings and ranges that look at it: meansquare [cols], hessian (1 / n) sum of x x' [cols, cols]. */
  statistics?: Pick<Statistics, 'meansquare' | 'hessian'>;
  /** `loadKernels()`: what a rounding computes with. */
  kernels?: Kernels;
}

/**
 * Quantizes a whole matrix in the caller's thread. x: [rows, cols]. Errors as in `quantizeRows`; NumericError also where the
 * Hessian cannot be factorized, RecipeError where a scheme lacks statistics of the inputs.
 */
export function quantizeMatrix(
  x: Float32Array,
  shape: readonly [rows: number, cols: number],
  scheme: MatrixScheme,
  options: MatrixOptions | string = {},
): QuantizedMatrix {
  const { name = 'matrix', ...rest } = typeof options === 'string' ? { name: options } : options;
  const place = { name, shape, from: 0, to: shape[0] };
  const tile = scheme.rounding ? fed(x, place, scheme as GptqScheme, rest) : nearest(x, place, scheme, rest);
  return { tile, dequantized: () => dequantizeTile(tile), effectiveBits: effectiveBits(tile) };
}

function nearest(x: Float32Array, place: TilePlace, scheme: MatrixScheme, options: MatrixOptions): QuantizedTile {
  return quantizeRows(x, place, scheme, { inputs: inputsOf(place, scheme, options) });
}

function inputsOf({ shape }: TilePlace, scheme: MatrixScheme, { statistics = {} }: MatrixOptions): RangeInputs {
  const { name } = rangeOf(scheme.range, scheme.symmetric);
  return rangeInputs(rangeNeeds(name), scheme.granularity, shape[1], statistics);
}

function fed(x: Float32Array, place: TilePlace, scheme: GptqScheme, options: MatrixOptions): QuantizedTile {
  const { statistics, kernels } = options;
  const { name } = place;
  const { damp, order, kind } = scheme.rounding;
  const hessian = statistics?.hessian;
  if (!hessian || !kernels) {
    throw new RecipeError({
      what: 'this rounding needs the Hessian of the inputs, and kernels',
      where: name,
      value: kind,
      next: 'give statistics with a hessian and kernels, or leave rounding out',
    });
  }
  const { granularity } = scheme;
  const group = typeof granularity === 'object' ? granularity.group : 1;
  const factor = factorizeHere(kernels, hessian, { damp, order, group, name });
  if ('fallback' in factor) {
    throw new NumericError({ what: factor.fallback, where: name, next: 'calibrate with more tokens, or leave rounding out' });
  }
  return gptqRows(kernels, x, place, scheme, factor, { inputs: inputsOf(place, scheme, options) });
}
