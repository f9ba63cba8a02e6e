/**
 * Rounding to integers, by name. Libraries disagree about ties and the difference decides bytes: torch, NumPy and ONNX round
 * half to even, C's `roundf` half away from zero, JavaScript's `Math.round` half up, and casts truncate.
 * The functions are exact for every f64, hence for every f32; the sign of zero is kept, NaN and infinities pass through.
 */
const TWO_52 = 2 ** 52;

/** At and above 2^52 every f64 is an integer; below, adding 2^52 makes the hardware round half to even. */
export function halfEven(x: number): number {
  const magnitude = Math.abs(x);
  if (!(magnitude < TWO_52)) return x;
  const rounded = magnitude + TWO_52 - TWO_52;
  return x < 0 || Object.is(x, -0) ? -rounded : rounded;
}

/** C's `round`. `x - trunc(x)` is exact, which `trunc(x + 0.5)` is not: 0.49999999999999994 + 0.5 rounds up to 1. */
export function halfAway(x: number): number {
  const whole = Math.trunc(x);
  return Math.abs(x - whole) >= 0.5 ? whole + Math.sign(x) : whole;
}

export const rounding = {
  halfEven,
  halfAway,
  halfUp: Math.round,
  trunc: Math.trunc,
  floor: Math.floor,
  ceil: Math.ceil,
} as const satisfies Record<string, (x: number) => number>;

export type RoundingMode = keyof typeof rounding;

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/**
 * ggml's `nearest_int`: half to even through an f32 addition of 1.5 * 2^23. It is right for |x| <= 4194303 and wraps beyond,
 * as in C; the result is an integer, so there is no negative zero. Source: ggml-quants.c.
 */
export function nearestInt(x: number): number {
  f32[0] = Math.fround(x) + 12582912;
  return (u32[0]! & 0x007fffff) - 0x00400000;
}
