// What the K-quant kernels share. ggml's bytes need each float sum in C's order, one addition after the other, so a sum is not
// spread over lanes: each lane of a vector works on a group of its own, four groups advance together, and data-dependent
// branches of the C code become masks. Values are transposed once a super-block: vector i holds element i of four groups.
// The functions mirror those of ref/k-common.ref.ts, where each search is explained.

export const SUPER: i32 = 256;
/** Adding it to |x| < 2^22 leaves x rounded half-even in the low bits of the sum (nearest_int of ggml). */
export const MAGIC: f32 = 12582912;

/** Scratch of one super-block; static, as each thread has an instance of its own. */
export const laneX: usize = memory.data(1024, 16); // f32[256 / n / 4][n][4]: four groups of n side by side
export const laneW: usize = memory.data(1024, 16); // their weights
export const fitScale: usize = memory.data(64, 16); // f32[groups]
export const fitMin: usize = memory.data(64, 16); // f32[groups], >= 0: what is taken away from the grid
export const weightSum: usize = memory.data(64, 16); // f32[groups]
/** With what the codes of the search are made again where the final step is zero: clamp(round(inverse * (x - base))). */
export const fitInverse: usize = memory.data(64, 16);
export const fitBase: usize = memory.data(64, 16);
export const codes: usize = memory.data(256, 16); // u8[256] in the order of x

@inline
export function nearestInt(x: f32): i32 {
  return (reinterpret<i32>(x + MAGIC) & 0x7fffff) - 0x400000;
}

/** nearest_int for every input, Inf and NaN included. */
@inline
export function nearestInt4(x: v128): v128 {
  const sum = f32x4.add(x, f32x4.splat(MAGIC));
  return i32x4.sub(v128.and(sum, i32x4.splat(0x7fffff)), i32x4.splat(0x400000));
}

/** x: f32[256] in groups of n -> to: for each four groups n vectors, vector i with element i of each. */
export function toLanes(x: usize, to: usize, n: i32): void {
  const stride = <usize>n << 2;
  for (let quad: i32 = 0; quad < SUPER; quad += 4 * n) {
    for (let i: i32 = 0; i < n; i += 4) {
      const from = x + (<usize>(quad + i) << 2);
      const a = v128.load(from);
      const b = v128.load(from + stride);
      const c = v128.load(from + 2 * stride);
      const d = v128.load(from + 3 * stride);
      const ab = v128.shuffle<f32>(a, b, 0, 4, 1, 5);
      const cd = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
      const AB = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
      const CD = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
      v128.store(to, v128.shuffle<f64>(ab, cd, 0, 2), 0);
      v128.store(to, v128.shuffle<f64>(ab, cd, 1, 3), 16);
      v128.store(to, v128.shuffle<f64>(AB, CD, 0, 2), 32);
      v128.store(to, v128.shuffle<f64>(AB, CD, 1, 3), 48);
      to += 64;
    }
  }
}

/** Sum of squares of one super-block, in order. */
export function sumOfSquares(x: usize): f32 {
  let sum: f32 = 0;
  for (let i: usize = 0; i < 1024; i += 16) {
    const v = v128.load(x + i);
    const squares = f32x4.mul(v, v);
    sum += f32x4.extract_lane(squares, 0);
    sum += f32x4.extract_lane(squares, 1);
    sum += f32x4.extract_lane(squares, 2);
    sum += f32x4.extract_lane(squares, 3);
  }
  return sum;
}

/** laneW = importance * sqrt(sigma2 + x^2), and weightSum of each group; importance: f32[256] of this super-block's columns. */
export function bendImportance(importance: usize, sigma2: f32, n: i32): void {
  toLanes(importance, laneW, n);
  const sigma = f32x4.splat(sigma2);
  const size = <usize>n << 4;
  for (let quad: usize = 0; quad < 1024; quad += size) {
    let sum = f32x4.splat(0);
    for (let i = quad; i < quad + size; i += 16) {
      const v = v128.load(laneX + i);
      const w = f32x4.mul(v128.load(laneW + i), f32x4.sqrt(f32x4.add(sigma, f32x4.mul(v, v))));
      v128.store(laneW + i, w);
      sum = f32x4.add(sum, w);
    }
    v128.store(weightSum + quad / <usize>n, sum);
  }
}

/** codes[at .. at + n] = clamp(round((x + offset) / step)) to 0 .. top. */
export function roundAffine(x: usize, at: usize, n: i32, step: f32, offset: f32, top: i32): void {
  const step4 = f32x4.splat(step);
  const offset4 = f32x4.splat(offset);
  for (let i: usize = 0; i < <usize>n; i += 16) {
    const from = x + ((at + i) << 2);
    const a = nearestInt4(f32x4.div(f32x4.add(v128.load(from, 0), offset4), step4));
    const b = nearestInt4(f32x4.div(f32x4.add(v128.load(from, 16), offset4), step4));
    const c = nearestInt4(f32x4.div(f32x4.add(v128.load(from, 32), offset4), step4));
    const d = nearestInt4(f32x4.div(f32x4.add(v128.load(from, 48), offset4), step4));
    // Narrowing saturates: it is the clamp at 0.
    const bytes = i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d));
    v128.store(codes + at + i, i8x16.min_u(bytes, i8x16.splat(<i8>top)));
  }
}

/** The codes of the winning try of group j: what ggml leaves in a group whose final step is zero. */
export function searchedAffine(x: usize, at: usize, n: i32, j: i32, top: i32): void {
  const inverse = load<f32>(fitInverse + (<usize>j << 2));
  const base = load<f32>(fitBase + (<usize>j << 2));
  for (let i: usize = 0; i < <usize>n; i++) {
    const code = nearestInt(inverse * (load<f32>(x + ((at + i) << 2)) - base));
    store<u8>(codes + at + i, max(0, min(top, code)));
  }
}

/** out: f32[16] = d * code - min, codes: u8[16]. */
@inline
export function expandAffine(bytes: v128, d: v128, min: v128, out: usize): void {
  const low = i16x8.extend_low_i8x16_u(bytes);
  const high = i16x8.extend_high_i8x16_u(bytes);
  v128.store(out, f32x4.sub(f32x4.mul(d, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_u(low))), min), 0);
  v128.store(out, f32x4.sub(f32x4.mul(d, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_u(low))), min), 16);
  v128.store(out, f32x4.sub(f32x4.mul(d, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_u(high))), min), 32);
  v128.store(out, f32x4.sub(f32x4.mul(d, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_u(high))), min), 48);
}

/** out: f32[16] = d * code, codes: i8[16]. */
@inline
export function expandSymmetric(bytes: v128, d: v128, out: usize): void {
  const low = i16x8.extend_low_i8x16_s(bytes);
  const high = i16x8.extend_high_i8x16_s(bytes);
  v128.store(out, f32x4.mul(d, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low))), 0);
  v128.store(out, f32x4.mul(d, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low))), 16);
  v128.store(out, f32x4.mul(d, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high))), 32);
  v128.store(out, f32x4.mul(d, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high))), 48);
}
