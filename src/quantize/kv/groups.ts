/**
 * Keys or values [tokens, width] to codes and back. Integers as KIVI has them (Liu et al., arXiv 2402.02750; quant/new_pack.py):
 * s = (max - min) / (2^b - 1), m = min, c = round(clamp((x - m) / s)), without 0 in the range. Symmetric: s = absmax / (2^(b-1) - 1/2).
 * e4m3: s = absmax / 448. Codes belong to the scale and the minimum that are stored.
 */
import { NumericError } from '../../errors.ts';
import { floatTypes } from '../../numeric/float.ts';
import { encodeMinifloat, minifloats, minifloatValues } from '../../numeric/minifloat.ts';
import { packDense, unpackDense } from '../../numeric/pack.ts';
import { halfEven } from '../../numeric/rounding.ts';
import type { KvSide } from '../../quantized/types.ts';
import { codeBits, hasMinimum } from './scheme.ts';

export interface KvGroups {
  /** [tokens, width], one code a byte; symmetric integers are stored with 2^(bits - 1) added. */
  codes: Uint8Array;
  /** Per channel [tokens / group, width], per token [tokens, width / group]. */
  scale: Float32Array;
  /** As `scale`; absent where values are s c. */
  minimum?: Float32Array;
}

export interface KvArithmetic {
  /** How scales and minima are stored (f16). */
  stored?: 'f16' | 'f32';
  /** In which dtype operations are done (f32). */
  compute?: 'f16' | 'f32';
}

/** Largest finite value of e4m3. */
export const e4m3Max = 448;

/**
 * @param x [tokens, width] of one or several heads side by side; `tokens` is a multiple of the group where it is one of tokens
 * @throws NumericError for NaN and infinities, and where a scale or minimum overflows its dtype
 */
export function quantizeGroups(
  x: Float32Array,
  width: number,
  side: KvSide,
  { stored = 'f16', compute = 'f32' }: KvArithmetic = {},
): KvGroups {
  const { round } = floatTypes[compute];
  const store = floatTypes[stored].round;
  const bits = codeBits(side);
  const qMax = 2 ** bits - 1;
  const half = 2 ** (bits - 1);
  const affine = hasMinimum(side);
  const float = side.bits === 'fp8';
  const codes = new Uint8Array(x.length);
  const shared = x.length / side.group;
  const scales = new Float32Array(shared);
  const minima = affine ? new Float32Array(shared) : undefined;

  for (let g = 0; g < shared; g++) {
    const { start, stride } = placeOf(g, width, side);
    const end = start + side.group * stride;
    let min = x[start]!;
    let max = min;
    for (let i = start; i < end; i += stride) {
      const value = x[i]!;
      if (!Number.isFinite(value))
        throw new NumericError({ what: 'a key or value of the cache is not finite', value: `${value}` });
      if (value < min) min = value;
      else if (value > max) max = value;
    }
    const range = affine ? round(max - min) : Math.max(max, -min);
    const exact = round(range / (affine ? qMax : float ? e4m3Max : half - 0.5));
    // Equal values, or steps below what the dtype holds: code 0 is then the minimum or 0.
    const scale = store(exact) || 1;
    scales[g] = scale;
    const minimum = affine ? store(min) : 0;
    if (!Number.isFinite(scale) || !Number.isFinite(minimum)) {
      throw new NumericError({ what: `a scale of the KV cache overflows ${stored}`, value: Math.max(range, Math.abs(min)) });
    }
    if (minima) minima[g] = minimum;
    for (let i = start; i < end; i += stride) {
      const q = round(round(x[i]! - minimum) / scale);
      if (float) codes[i] = encodeMinifloat(minifloats.e4m3, q, { saturate: true });
      else codes[i] = affine ? Math.max(0, Math.min(halfEven(q), qMax)) : Math.max(-half, Math.min(halfEven(q), half - 1)) + half;
    }
  }
  return { codes, scale: scales, ...(minima && { minimum: minima }) };
}

const e4m3Values = minifloatValues(minifloats.e4m3);

/** What the codes stand for, [tokens, width]. */
export function dequantizeGroups({ codes, scale, minimum }: KvGroups, width: number, side: KvSide): Float32Array {
  const out = new Float32Array(codes.length);
  const zero = hasMinimum(side) ? 0 : 2 ** (codeBits(side) - 1);
  const float = side.bits === 'fp8';
  for (let g = 0; g < scale.length; g++) {
    const { start, stride } = placeOf(g, width, side);
    const [s, m] = [scale[g]!, minimum?.[g] ?? 0];
    for (let i = start, n = 0; n < side.group; i += stride, n++) {
      out[i] = Math.fround((float ? e4m3Values[codes[i]!]! : codes[i]! - zero) * s) + m;
    }
  }
  return out;
}

/** The first value of group `g`, and how far it is from one value to the next. */
function placeOf(g: number, width: number, { per, group }: KvSide): { start: number; stride: number } {
  if (per === 'token') return { start: g * group, stride: 1 };
  return { start: Math.floor(g / width) * group * width + (g % width), stride: width };
}

/** Low bits first along the channels: [tokens, width * bits / 8]. */
export function packCodes(codes: Uint8Array, side: KvSide): Uint8Array {
  return side.bits === 8 || side.bits === 'fp8' ? codes : packDense(codes, side.bits);
}

/** The inverse of `packCodes`, [values]. */
export function unpackCodes(bytes: Uint8Array, side: KvSide): Uint8Array {
  const bits = codeBits(side);
  return unpackDense(bytes, bits, (bytes.length * 8) / bits);
}
