/**
 * What MXFP4 and NVFP4 share: the values of E2M1 and the nearest of them, and their scales. ggml doubles the values, so that they
 * are whole numbers, and halves the scale. ggml-quants.c `best_index_mxfp4`, ggml-impl.h `ggml_e8m0_to_fp32_half`,
 * `ggml_fp32_to_ue4m3`, `ggml_ue4m3_to_fp32`.
 */
const f = Math.fround;

/** By code; the upper half is negative, its zero, which has no sign here, is never written. */
export const doubledE2m1 = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12] as const;

/** Codes [n] of x [n] under a halved scale: the first whose value is nearest, so ties go to the smaller magnitude. */
export function e2m1Codes(x: Float32Array, halfScale: number): Uint8Array {
  return Uint8Array.from(x, (v) => {
    const errors = doubledE2m1.map((value) => Math.abs(f(f(value * halfScale) - v)));
    return errors.indexOf(Math.min(...errors));
  });
}

/** Half of the power of two that an E8M0 byte stands for; 255, OCP's NaN, is a number like any other here. */
export function halfOfE8m0(byte: number): number {
  return 2 ** (byte - 128);
}

/** Half of what an unsigned E4M3 byte stands for: bit 7 is not looked at, except that 127 alone is 0. */
export function halfOfUe4m3(byte: number): number {
  if (byte === 127) return 0;
  const [exponent, mantissa] = [(byte >> 3) & 15, byte & 7];
  return (exponent === 0 ? mantissa * 2 ** -9 : (1 + mantissa / 8) * 2 ** (exponent - 7)) / 2;
}

/**
 * The unsigned E4M3 byte of x >= 0, half up. What would round to 256 or more becomes the largest value, 448: the bytes 120 to
 * 125 are never written.
 */
export function ue4m3Of(x: number): number {
  if (!(x > 0)) return 0;
  const exponent = Math.floor(Math.log2(x));
  if (exponent <= -7) return Math.min(7, Math.trunc(f(f(x * 512) + 0.5)));
  const byte = exponent >= 8 ? 126 : ((exponent + 7) << 3) + Math.floor((x / 2 ** exponent - 1) * 8 + 0.5);
  return byte < 120 ? byte : 126;
}
