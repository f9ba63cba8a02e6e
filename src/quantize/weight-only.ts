/**
 * The weight-only quantizer of DeepSpeed's inference (inference/quantization/utils.py): codes are round((w - min) * inverse) over the
 * full range of a group, inverse and minimum stay floats, and of two 4-bit codes the first lies in the high nibble.
 */
import { RecipeError } from '../errors.ts';
import { halfEven } from '../numeric/rounding.ts';
import { checkFinite } from './check.ts';
import { extremes } from './range/minmax.ts';

const { fround } = Math;

export interface WeightOnly {
  /** [rows, cols] bytes, or [rows, cols / 2] of 4 bits */
  packed: Uint8Array;
  /** [rows, cols / group], the inverse of a step. */
  inverse: Float32Array;
  /** [rows, cols / group] */
  min: Float32Array;
}

/**
 * x: [rows, cols] in whole groups of consecutive values. A constant group gets the inverse 1; DeepSpeed gives NaN.
 * @throws NumericError for NaN and Inf, RecipeError for other bits than 4 and 8 or groups that do not fit
 */
export function quantizeWeightOnly(x: Float32Array, group: number, bits: 4 | 8): WeightOnly {
  checkLayout(x.length, group, bits);
  checkFinite(x, 'weight', 0, group);
  const most = 2 ** bits - 1;
  const count = x.length / group;
  const inverse = new Float32Array(count);
  const min = new Float32Array(count);
  const codes = new Uint8Array(x.length);
  for (let g = 0; g < count; g++) {
    const limits = extremes(x, g * group, (g + 1) * group);
    const reach = fround(limits.max - limits.min);
    // torch divides a number by a tensor as number * (1 / tensor).
    const steps = reach === 0 ? 1 : fround(most * fround(1 / reach));
    inverse[g] = steps;
    min[g] = limits.min;
    for (let i = g * group; i < (g + 1) * group; i++) {
      codes[i] = halfEven(Math.max(0, Math.min(fround(fround(x[i]! - limits.min) * steps), most)));
    }
  }
  if (bits === 8) return { packed: codes, inverse, min };
  return {
    packed: Uint8Array.from({ length: codes.length / 2 }, (_, i) => (codes[2 * i]! << 4) | codes[2 * i + 1]!),
    inverse,
    min,
  };
}

/** The values, [rows, cols]: code / inverse + min, each operation in f32. */
export function dequantizeWeightOnly({ packed, inverse, min }: WeightOnly, group: number, bits: 4 | 8): Float32Array {
  const codes =
    bits === 8
      ? packed
      : Uint8Array.from({ length: 2 * packed.length }, (_, i) => (i % 2 ? packed[i >> 1]! & 15 : packed[i >> 1]! >> 4));
  checkLayout(codes.length, group, bits);
  return Float32Array.from(codes, (code, i) => {
    const g = Math.floor(i / group);
    return fround(code / inverse[g]!) + min[g]!;
  });
}

function checkLayout(values: number, group: number, bits: number): void {
  if (bits !== 4 && bits !== 8)
    throw new RecipeError({ what: 'not a width of this quantizer', value: bits, limit: '4 or 8 bits' });
  if (!Number.isInteger(group) || group < 1 || values % group !== 0 || values % 2 !== 0) {
    throw new RecipeError({ what: `${values} values do not split into groups`, value: group, next: 'choose another group size' });
  }
}
