// The types without blocks: f32, f16, bf16 and, for reading only, f64. Tails of less than 8 values run through a padded copy.
import { bfloatOf, floatOf, halfOf } from './half';

const tail: usize = memory.data(64, 16);

/** x: f32[rows, cols] -> out: the same bytes. */
export function encode_f32(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  memory.copy(out, x, (<usize>rows * <usize>cols) << 2);
}

/** src: f32[n] -> out: f32[n] */
export function decode_f32(src: usize, out: usize, n: i32): void {
  memory.copy(out, src, <usize>n << 2);
}

@inline
function storeHalves8(x: usize, out: usize): void {
  v128.store(out, i16x8.narrow_i32x4_u(halfOf(v128.load(x)), halfOf(v128.load(x, 16))));
}

@inline
function storeBfloats8(x: usize, out: usize): void {
  v128.store(out, i16x8.narrow_i32x4_u(bfloatOf(v128.load(x)), bfloatOf(v128.load(x, 16))));
}

@inline
function loadHalves8(src: usize, out: usize): void {
  const halves = v128.load(src);
  v128.store(out, floatOf(i32x4.extend_low_i16x8_u(halves)));
  v128.store(out, floatOf(i32x4.extend_high_i16x8_u(halves)), 16);
}

@inline
function loadBfloats8(src: usize, out: usize): void {
  const halves = v128.load(src);
  const zero = i64x2.splat(0);
  v128.store(out, v128.shuffle<u16>(zero, halves, 0, 8, 1, 9, 2, 10, 3, 11));
  v128.store(out, v128.shuffle<u16>(zero, halves, 4, 12, 5, 13, 6, 14, 7, 15), 16);
}

/** x: f32[rows, cols] -> out: f16[rows, cols] */
export function encode_f16(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  const n = <usize>rows * <usize>cols;
  const end = out + ((n & ~7) << 1);
  for (; out < end; x += 32, out += 16) storeHalves8(x, out);
  const rest = n & 7;
  memory.copy(tail, x, rest << 2);
  storeHalves8(tail, tail + 32);
  memory.copy(out, tail + 32, rest << 1);
}

/** x: f32[rows, cols] -> out: bf16[rows, cols] */
export function encode_bf16(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  const n = <usize>rows * <usize>cols;
  const end = out + ((n & ~7) << 1);
  for (; out < end; x += 32, out += 16) storeBfloats8(x, out);
  const rest = n & 7;
  memory.copy(tail, x, rest << 2);
  storeBfloats8(tail, tail + 32);
  memory.copy(out, tail + 32, rest << 1);
}

/** src: f16[n] -> out: f32[n] */
export function decode_f16(src: usize, out: usize, n: i32): void {
  const end = src + (<usize>(n & ~7) << 1);
  for (; src < end; src += 16, out += 32) loadHalves8(src, out);
  const rest = <usize>(n & 7);
  memory.copy(tail, src, rest << 1);
  loadHalves8(tail, tail + 32);
  memory.copy(out, tail + 32, rest << 2);
}

/** src: bf16[n] -> out: f32[n] */
export function decode_bf16(src: usize, out: usize, n: i32): void {
  const end = src + (<usize>(n & ~7) << 1);
  for (; src < end; src += 16, out += 32) loadBfloats8(src, out);
  const rest = <usize>(n & 7);
  memory.copy(tail, src, rest << 1);
  loadBfloats8(tail, tail + 32);
  memory.copy(out, tail + 32, rest << 2);
}

/** src: f64[n] -> out: f32[n], half to even */
export function decode_f64(src: usize, out: usize, n: i32): void {
  const end = out + (<usize>n << 2);
  for (; out < end; src += 8, out += 4) store<f32>(out, <f32>load<f64>(src));
}
