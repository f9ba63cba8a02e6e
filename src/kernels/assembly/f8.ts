// 8-bit floats, for reading: their scales, where a checkpoint has some, lie in tensors of their own.

/** src: E4M3FN[n] -> out: f32[n]; code 0x7f is NaN, there is no Inf. */
export function decode_f8_e4m3(src: usize, out: usize, n: i32): void {
  for (let i: usize = 0; i < <usize>n; i++) {
    const code = <u32>load<u8>(src + i);
    // The fields moved into f32 have a bias of 127 instead of 7; the product sets that right, for subnormals too.
    const magnitude = (code & 0x7f) === 0x7f ? f32.NaN : reinterpret<f32>((code & 0x7f) << 20) * reinterpret<f32>((127 + 120) << 23);
    store<f32>(out + (i << 2), reinterpret<f32>(reinterpret<u32>(magnitude) | ((code & 0x80) << 24)));
  }
}

/** src: E5M2[n] -> out: f32[n]; the upper half of an f16. */
export function decode_f8_e5m2(src: usize, out: usize, n: i32): void {
  for (let i: usize = 0; i < <usize>n; i++) {
    const code = <u32>load<u8>(src + i);
    const special = (code & 0x7c) === 0x7c;
    const magnitude = special
      ? reinterpret<f32>(0x7f800000 | ((code & 3) << 21))
      : reinterpret<f32>((code & 0x7f) << 21) * reinterpret<f32>((127 + 112) << 23);
    store<f32>(out + (i << 2), reinterpret<f32>(reinterpret<u32>(magnitude) | ((code & 0x80) << 24)));
  }
}
