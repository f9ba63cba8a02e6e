/**
 * Small floating-point formats as data. One table says how a format spends its bits; one encoder and one decoder serve all.
 * Names: e<exponent bits>m<mantissa bits>; "fn" finite (no infinity), "uz" unsigned zero (the code of -0 is NaN).
 * `mlDtypes` is the name in ml_dtypes, whose results the tests compare with bit by bit.
 */
import { RecipeError } from '../errors.ts';

/**
 * What the codes beyond the finite values mean, and what an over-large value becomes:
 * ieee  the top exponent is infinity and NaN; overflow gives infinity
 * fn    the code of all ones is NaN; overflow gives NaN
 * fnuz  the code of -0 is the only NaN; overflow gives NaN
 * none  every code is finite; overflow saturates and NaN becomes -0
 * scale e8m0: powers of two without sign or zero, code 255 is NaN; overflow, negative values and zero give NaN
 */
export type Specials = 'ieee' | 'fn' | 'fnuz' | 'none' | 'scale';

export interface Minifloat {
  readonly bits: number;
  readonly exponent: number;
  readonly mantissa: number;
  readonly bias: number;
  readonly specials: Specials;
  readonly mlDtypes: string;
}

const e4m3fn: Minifloat = { bits: 8, exponent: 4, mantissa: 3, bias: 7, specials: 'fn', mlDtypes: 'float8_e4m3fn' };

export const minifloats = {
  e4m3fn,
  /** The field's short name for e4m3fn (OCP, safetensors F8_E4M3). */
  e4m3: e4m3fn,
  e5m2: { bits: 8, exponent: 5, mantissa: 2, bias: 15, specials: 'ieee', mlDtypes: 'float8_e5m2' },
  e4m3fnuz: { bits: 8, exponent: 4, mantissa: 3, bias: 8, specials: 'fnuz', mlDtypes: 'float8_e4m3fnuz' },
  e5m2fnuz: { bits: 8, exponent: 5, mantissa: 2, bias: 16, specials: 'fnuz', mlDtypes: 'float8_e5m2fnuz' },
  e4m3b11fnuz: { bits: 8, exponent: 4, mantissa: 3, bias: 11, specials: 'fnuz', mlDtypes: 'float8_e4m3b11fnuz' },
  e4m3ieee: { bits: 8, exponent: 4, mantissa: 3, bias: 7, specials: 'ieee', mlDtypes: 'float8_e4m3' },
  e3m4: { bits: 8, exponent: 3, mantissa: 4, bias: 3, specials: 'ieee', mlDtypes: 'float8_e3m4' },
  e2m3: { bits: 6, exponent: 2, mantissa: 3, bias: 1, specials: 'none', mlDtypes: 'float6_e2m3fn' },
  e3m2: { bits: 6, exponent: 3, mantissa: 2, bias: 3, specials: 'none', mlDtypes: 'float6_e3m2fn' },
  e2m1: { bits: 4, exponent: 2, mantissa: 1, bias: 1, specials: 'none', mlDtypes: 'float4_e2m1fn' },
  e8m0: { bits: 8, exponent: 8, mantissa: 0, bias: 127, specials: 'scale', mlDtypes: 'float8_e8m0fnu' },
  f16: { bits: 16, exponent: 5, mantissa: 10, bias: 15, specials: 'ieee', mlDtypes: 'float16' },
  bf16: { bits: 16, exponent: 8, mantissa: 7, bias: 127, specials: 'ieee', mlDtypes: 'bfloat16' },
} as const satisfies Record<string, Minifloat>;

export type MinifloatName = keyof typeof minifloats;

/** The format of that name; RecipeError when there is none. */
export function minifloat(name: string): Minifloat {
  if (Object.hasOwn(minifloats, name)) return minifloats[name as MinifloatName];
  throw new RecipeError({
    what: 'there is no such minifloat format',
    value: name,
    next: `choose one of ${Object.keys(minifloats).join(', ')}`,
  });
}

/** Codes of the magnitude: the largest finite one, what overflow becomes, and NaN (with its sign, where it has none of its own). */
function landmarks({ bits, mantissa, specials }: Minifloat): { max: number; over: number; nan: number } {
  const sign = 1 << (bits - 1);
  const infinity = sign - (1 << mantissa);
  switch (specials) {
    case 'ieee':
      return { max: infinity - 1, over: infinity, nan: infinity | (1 << (mantissa - 1)) };
    case 'fn':
      return { max: sign - 2, over: sign - 1, nan: sign - 1 };
    case 'fnuz':
      return { max: sign - 1, over: sign, nan: sign };
    case 'none':
      return { max: sign - 1, over: sign - 1, nan: sign };
    case 'scale':
      return { max: 254, over: 255, nan: 255 };
  }
}

/** The value of one code. */
export function decodeMinifloat(format: Minifloat, code: number): number {
  const { bits, mantissa, bias, specials } = format;
  if (specials === 'scale') return code === 255 ? Number.NaN : 2 ** (code - bias);
  const signBit = 1 << (bits - 1);
  const { max, nan } = landmarks(format);
  const magnitude = code & (signBit - 1);
  const sign = code & signBit ? -1 : 1;
  if (specials === 'fnuz' && code === nan) return Number.NaN;
  if (magnitude > max) return specials === 'ieee' && magnitude === max + 1 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  const exponent = magnitude >> mantissa;
  const fraction = magnitude & ((1 << mantissa) - 1);
  const significand = exponent === 0 ? fraction : fraction + (1 << mantissa);
  return sign * significand * 2 ** (Math.max(exponent, 1) - bias - mantissa);
}

/** Values of all codes, [2^bits]. */
export function minifloatValues(format: Minifloat): Float32Array {
  return Float32Array.from({ length: 2 ** format.bits }, (_, code) => decodeMinifloat(format, code));
}

export interface EncodeOptions {
  /** Over-large values and infinities become the largest finite value, as hardware converts and quantizers clamp. */
  saturate?: boolean;
}

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** The code of the value nearest to `x` (rounded to f32 first), ties to the even code. */
export function encodeMinifloat(format: Minifloat, x: number, options: EncodeOptions = {}): number {
  f32[0] = x;
  return encoder(format, options)(u32[0]!);
}

/** x: [n] -> codes [n], one a cell whatever the format's bits. */
export function encodeMinifloatArray<T extends Uint8Array | Uint16Array>(
  format: Minifloat,
  x: Float32Array,
  out: T,
  options: EncodeOptions = {},
): T {
  const encode = encoder(format, options);
  const patterns = new Uint32Array(x.buffer, x.byteOffset, x.length);
  for (let i = 0; i < patterns.length; i++) out[i] = encode(patterns[i]!);
  return out;
}

/** codes: [n] -> values [n]. */
export function decodeMinifloatArray(
  format: Minifloat,
  codes: Uint8Array | Uint16Array,
  out: Float32Array = new Float32Array(codes.length),
): Float32Array {
  const values = minifloatValues(format);
  const mask = values.length - 1;
  for (let i = 0; i < codes.length; i++) out[i] = values[codes[i]! & mask]!;
  return out;
}

type Encoder = (pattern: number) => number;

const encoders = new WeakMap<Minifloat, { plain: Encoder; saturating: Encoder }>();

/** The encoder of a format, made on first use. */
function encoder(format: Minifloat, { saturate }: EncodeOptions): Encoder {
  let pair = encoders.get(format);
  if (!pair) {
    pair = { plain: makeEncoder(format, false), saturating: makeEncoder(format, true) };
    encoders.set(format, pair);
  }
  return saturate ? pair.saturating : pair.plain;
}

/** Encodes the bit pattern of an f32. The magnitude is a count of quanta, and a carry out of the mantissa lands in the exponent. */
function makeEncoder(format: Minifloat, saturate: boolean): Encoder {
  if (format.specials === 'scale') return (pattern) => encodeScale(pattern, saturate);
  const { bits, mantissa, bias, specials } = format;
  const signBit = 1 << (bits - 1);
  const { max, over, nan } = landmarks(format);
  const lowest = 1 - bias;
  const unsignedZero = specials === 'fnuz';
  // Quanta a unit, by the exponent field of the f32: a power each is what would cost most.
  const density = Float64Array.from({ length: 256 }, (_, field) => 2 ** (mantissa - Math.max(field - 127, lowest)));
  // The NaN of ieee and fn carries the sign of x, the others are one code.
  const signedNan = specials === 'ieee' || specials === 'fn';

  return (pattern) => {
    const sign = pattern >>> 31 ? signBit : 0;
    const magnitude = pattern & 0x7fffffff;
    if (magnitude > 0x7f800000) return signedNan ? sign | nan : nan;
    const field = magnitude >>> 23;
    const base = Math.max(field - 127 - lowest, 0) << mantissa;
    u32[0] = magnitude;
    const quanta = f32[0]! * density[field]!;
    // 2^52 rounds half to even; quanta are below 2^(mantissa + 1), except for infinity, which stays infinite.
    const code = base + (quanta + 2 ** 52 - 2 ** 52);
    if (code > max) return saturate ? sign | max : unsignedZero ? over : sign | over;
    return unsignedZero && code === 0 ? 0 : sign | code;
  };
}

/**
 * e8m0 takes the exponent field of the f32 and rounds by the mantissa, ties up. Between 2^-127 and 2^-126, where f32 has no
 * implicit one, that rounds everything but 2^-127 itself up: ml_dtypes and torch agree on it.
 */
function encodeScale(pattern: number, saturate: boolean): number {
  const field = pattern >>> 23;
  const fraction = pattern & 0x7fffff;
  if (pattern >>> 31 || pattern === 0 || (field === 255 && fraction > 0)) return 255;
  const roundsUp = fraction > 0x400000 || (fraction === 0x400000 && field > 0);
  return Math.min(field + (roundsUp ? 1 : 0), saturate ? 254 : 255);
}
