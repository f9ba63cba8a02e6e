/** Where the arena of ../kernels.ts may start: behind all static data. */
export function heap_base(): usize {
  return __heap_base;
}

/** Offset of the first byte in which a and b differ, or -1; n bytes each. */
export function first_difference(a: usize, b: usize, n: i32): i32 {
  const whole = n & ~15;
  for (let i: i32 = 0; i < whole; i += 16) {
    if (v128.any_true(v128.xor(v128.load(a + i), v128.load(b + i)))) return differing(a, b, i, i + 16);
  }
  return differing(a, b, whole, n);
}

function differing(a: usize, b: usize, from: i32, to: i32): i32 {
  for (let i = from; i < to; i++) if (load<u8>(a + i) !== load<u8>(b + i)) return i;
  return -1;
}
