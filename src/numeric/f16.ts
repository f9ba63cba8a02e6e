/**
 * IEEE half precision: 1 sign, 5 exponent, 10 mantissa bits. Encoding rounds half to even through the subnormals, 65520 and
 * above become infinity, and every NaN becomes 0x7e00 with the sign kept, which is what ggml writes.
 */
const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** Bit patterns of f32 at the borders of the f16 ranges. */
const INFINITY = 0x7f800000;
const PAST_RANGE = 0x47800000; // 65536
const SMALLEST_NORMAL = 0x38800000; // 2^-14
const HALF = 0x3f000000; // 0.5
/** Difference of the exponent biases (127 - 15) in the exponent's place. */
const REBIAS = 0x38000000;

function encodeBits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= PAST_RANGE) return sign | (magnitude > INFINITY ? 0x7e00 : 0x7c00);
  if (magnitude >= SMALLEST_NORMAL) {
    const rebiased = magnitude - REBIAS;
    return sign | ((rebiased + 0x0fff + ((rebiased >>> 13) & 1)) >>> 13);
  }
  // 0.5 has the spacing of f16's subnormals, 2^-24: adding it lets the hardware round half to even.
  u32[0] = magnitude;
  f32[0]! += 0.5;
  return sign | (u32[0]! - HALF);
}

function decodeBits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const magnitude = half & 0x7fff;
  if (magnitude >= 0x7c00) return (sign | INFINITY | ((magnitude & 0x3ff) << 13)) >>> 0;
  if (magnitude >= 0x0400) return (sign | ((magnitude << 13) + REBIAS)) >>> 0;
  f32[0] = magnitude * 2 ** -24;
  return (sign | u32[0]!) >>> 0;
}

/** f32 -> f16 bits; `x` is rounded to f32 first. */
export function encodeF16(x: number): number {
  f32[0] = x;
  return encodeBits(u32[0]!);
}

/** f16 bits -> the value. */
export function decodeF16(half: number): number {
  u32[0] = decodeBits(half);
  return f32[0]!;
}

/** The nearest f16 value. */
export function roundF16(x: number): number {
  return decodeF16(encodeF16(x));
}

/** x: [n] -> bits [n]. */
export function encodeF16Array(x: Float32Array, out: Uint16Array = new Uint16Array(x.length)): Uint16Array {
  const bits = new Uint32Array(x.buffer, x.byteOffset, x.length);
  for (let i = 0; i < bits.length; i++) out[i] = encodeBits(bits[i]!);
  return out;
}

/** All 65,536 values as f32 bits, built on first use: a look-up is faster than branching on the exponent. */
let table: Uint32Array | undefined;

/** bits: [n] -> values [n]; copied as bits, so that a NaN keeps its payload. */
export function decodeF16Array(halves: Uint16Array, out: Float32Array = new Float32Array(halves.length)): Float32Array {
  table ??= Uint32Array.from({ length: 65536 }, (_, half) => decodeBits(half));
  const bits = new Uint32Array(out.buffer, out.byteOffset, halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = table[halves[i]!]!;
  return out;
}
