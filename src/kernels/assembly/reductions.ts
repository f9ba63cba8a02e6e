// What is read off tensors and blocks in one pass. See ref/reductions.ref.ts; sums of errors are in divergence.ts.

/** Index of the first NaN or Inf of x: f32[n], or -1. */
export function first_nonfinite(x: usize, n: i32): i32 {
  const end = x + (<usize>n << 2);
  let at = x;
  // Without the sign bit, exponent 255 makes the largest numbers there are.
  for (; at + 64 <= end; at += 64) {
    const low = i32x4.max_u(i32x4.shl(v128.load(at), 1), i32x4.shl(v128.load(at, 16), 1));
    const high = i32x4.max_u(i32x4.shl(v128.load(at, 32), 1), i32x4.shl(v128.load(at, 48), 1));
    if (v128.any_true(i32x4.ge_u(i32x4.max_u(low, high), i32x4.splat(0xff000000)))) break;
  }
  for (; at < end; at += 4) if (load<u32>(at) << 1 >= 0xff000000) return <i32>((at - x) >> 2);
  return -1;
}

/** x: f32[n] finite -> out: f32[2] = minimum, maximum; Infinity, -Infinity for n = 0 */
export function minmax(x: usize, n: i32, out: usize): void {
  const end = x + (<usize>n << 2);
  let low = f32x4.splat(Infinity), high = f32x4.splat(-Infinity);
  let low2 = low, high2 = high;
  for (; x + 32 <= end; x += 32) {
    const a = v128.load(x), b = v128.load(x, 16);
    low = f32x4.pmin(low, a);
    high = f32x4.pmax(high, a);
    low2 = f32x4.pmin(low2, b);
    high2 = f32x4.pmax(high2, b);
  }
  for (; x < end; x += 4) {
    const v = v128.load32_splat(x);
    low = f32x4.pmin(low, v);
    high = f32x4.pmax(high, v);
  }
  store<f32>(out, -largestLane(f32x4.neg(f32x4.pmin(low, low2))));
  store<f32>(out, largestLane(f32x4.pmax(high, high2)), 4);
}

/** The largest magnitude of x: f32[n] finite; 0 for n = 0. */
export function absmax(x: usize, n: i32): f32 {
  const end = x + (<usize>n << 2);
  let a = f32x4.splat(0), b = a;
  for (; x + 32 <= end; x += 32) {
    a = f32x4.pmax(a, f32x4.abs(v128.load(x)));
    b = f32x4.pmax(b, f32x4.abs(v128.load(x, 16)));
  }
  for (; x < end; x += 4) a = f32x4.pmax(a, f32x4.abs(v128.load32_splat(x)));
  return largestLane(f32x4.pmax(a, b));
}

@inline
function largestLane(v: v128): f32 {
  return max(
    max(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1)),
    max(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)),
  );
}

/** Index of the first of n blocks whose f16 at byte `offset` is NaN or Inf, or -1. */
export function scales_finite(blocks: usize, n: i32, blockBytes: i32, offset: i32): i32 {
  let at = blocks + offset;
  for (let i: i32 = 0; i < n; i++, at += blockBytes) if ((load<u16>(at) & 0x7c00) == 0x7c00) return i;
  return -1;
}
