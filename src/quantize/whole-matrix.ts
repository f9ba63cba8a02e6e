import { NumericError, RecipeError } from '../errors.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { QuantizedTile } from '../quantized/types.ts';
import { effectiveBits } from './bits.ts';
import { dequantizeTile } from './dequantize.ts';
import { quantizeRows, type TilePlace } from './quantize-matrix.ts';
import { factorizeHere } from './rounding/factorize.ts';
import { type GptqScheme, gptqRows } from './rounding/gptq-rows.ts';
import type { MatrixScheme } from './scheme.ts';

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
  /** What a scheme with a rounding needs: the Hessian of the inputs, (1 / n) sum of x x' [cols, cols], and `loadKernels()`. */
  calibration?: { hessian: Float32Array; kernels: Kernels };
}

/**
 * Quantizes a whole matrix in the caller's thread. x: [rows, cols]. Errors as in `quantizeRows`; NumericError also where the
 * Hessian cannot be factorized, RecipeError where a scheme with a rounding has none.
 */
export function quantizeMatrix(
  x: Float32Array,
  shape: readonly [rows: number, cols: number],
  scheme: MatrixScheme,
  options: MatrixOptions | string = {},
): QuantizedMatrix {
  const { name = 'matrix', calibration } = typeof options === 'string' ? { name: options } : options;
  const place = { name, shape, from: 0, to: shape[0] };
  const tile = scheme.rounding ? fed(x, place, scheme as GptqScheme, calibration) : quantizeRows(x, place, scheme);
  return { tile, dequantized: () => dequantizeTile(tile), effectiveBits: effectiveBits(tile) };
}

function fed(x: Float32Array, place: TilePlace, scheme: GptqScheme, calibration: MatrixOptions['calibration']): QuantizedTile {
  const { name } = place;
  if (!calibration) {
    const next = 'give a Hessian, or leave rounding out';
    throw new RecipeError({
      what: 'this rounding needs statistics of the inputs',
      where: name,
      value: scheme.rounding.kind,
      next,
    });
  }
  const { hessian, kernels } = calibration;
  const factor = factorizeHere(kernels, hessian, { damp: scheme.rounding.damp, order: scheme.rounding.order, name });
  if ('fallback' in factor) {
    throw new NumericError({ what: factor.fallback, where: name, next: 'calibrate with more tokens, or leave rounding out' });
  }
  return gptqRows(kernels, x, place, scheme, factor);
}
