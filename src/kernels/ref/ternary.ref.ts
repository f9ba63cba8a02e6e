/** What TQ1_0, TQ2_0 and Q2_0 share: one scale, the largest magnitude, and the values -1, 0 and 1 under it. */
const f = Math.fround;

export interface Ternary {
  scale: number;
  /** 0, 1, 2 for -1, 0, 1 */
  trits: Uint8Array;
}

/**
 * Rounds half away from zero. Where 1 / scale overflows all are `lost`: what a C cast of an infinite number ends as on x86-64, the
 * zero of lroundf or the lower end of a clamped int. Their scale is 0 as f16.
 */
export function toTernary(x: Float32Array, lost: 0 | 1 = 1): Ternary {
  const scale = x.reduce((max, v) => Math.max(max, Math.abs(v)), 0);
  const inverse = scale !== 0 ? f(1 / scale) : 0;
  if (inverse === Number.POSITIVE_INFINITY) return { scale, trits: new Uint8Array(x.length).fill(lost) };
  const trits = Uint8Array.from(x, (v) => {
    const scaled = f(v * inverse);
    return Math.abs(scaled) >= 0.5 ? 1 + Math.sign(scaled) : 1;
  });
  return { scale, trits };
}
