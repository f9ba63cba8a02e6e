/**
 * bfloat16: the upper half of an f32. Encoding rounds half to even; a NaN keeps the upper bits of its payload and gets the
 * quiet bit, which is what ggml writes (ml_dtypes keeps the sign alone).
 */
const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

const INFINITY = 0x7f800000;
const QUIET = 0x40;

function encodeBits(bits: number): number {
  if ((bits & 0x7fffffff) > INFINITY) return (bits >>> 16) | QUIET;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** f32 -> bf16 bits; `x` is rounded to f32 first. */
export function encodeBf16(x: number): number {
  f32[0] = x;
  return encodeBits(u32[0]!);
}

/** bf16 bits -> the value. */
export function decodeBf16(half: number): number {
  u32[0] = half << 16;
  return f32[0]!;
}

/** The nearest bf16 value. */
export function roundBf16(x: number): number {
  return decodeBf16(encodeBf16(x));
}

/** x: [n] -> bits [n]. */
export function encodeBf16Array(x: Float32Array, out: Uint16Array = new Uint16Array(x.length)): Uint16Array {
  const bits = new Uint32Array(x.buffer, x.byteOffset, x.length);
  for (let i = 0; i < bits.length; i++) out[i] = encodeBits(bits[i]!);
  return out;
}

/** bits: [n] -> values [n]. */
export function decodeBf16Array(halves: Uint16Array, out: Float32Array = new Float32Array(halves.length)): Float32Array {
  const bits = new Uint32Array(out.buffer, out.byteOffset, halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i]! << 16;
  return out;
}
