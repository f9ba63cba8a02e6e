// Widening of 16-bit floats.

/** src: bf16[n], out: f32[n] */
export function decode_bf16(src: usize, out: usize, n: i32): void {
  for (let i: i32 = 0; i < n; i++) store<u32>(out + (<usize>i << 2), <u32>load<u16>(src + (<usize>i << 1)) << 16);
}
