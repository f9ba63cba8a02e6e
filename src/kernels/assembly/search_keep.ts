// A block of the search beside ggml's: the one that loses less stays. See ref/search/searched.ref.ts.

/** One block of the search. */
export const trial: usize = memory.data(256, 16);
/** f32[256]: the weights where there is no importance matrix. */
export const ones: usize = memory.data(1024, 16);

const mine: usize = memory.data(1024, 16); // f32[256]
const theirs: usize = memory.data(1024, 16);

fillOnes();

function fillOnes(): void {
  for (let i: usize = 0; i < 1024; i += 16) v128.store(ones + i, f32x4.splat(1));
}

/** x, weights: f32[n]; out: a block of `bytes`, replaced by the trial where that loses less. */
export function keepBetter(
  x: usize, weights: usize, out: usize, n: i32, bytes: usize, decode: (blocks: usize, out: usize, n: i32) => void,
): void {
  decode(trial, mine, n);
  decode(out, theirs, n);
  const least = loss(x, theirs, weights, n);
  // A scale beyond f16 stays: whoever writes the block refuses it.
  if (loss(x, mine, weights, n) < least && least < Infinity) memory.copy(out, trial, bytes);
}

/** sum w (x - y)^2: those of even and of odd columns, then both. */
export function loss(x: usize, y: usize, w: usize, n: i32): f64 {
  let sum = f64x2.splat(0);
  for (const end = x + (<usize>n << 2); x < end; x += 16, y += 16, w += 16) {
    const a = v128.load(x), b = v128.load(y), c = v128.load(w);
    sum = f64x2.add(sum, weighted(a, b, c));
    sum = f64x2.add(sum, weighted(upper(a), upper(b), upper(c)));
  }
  return f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1);
}

@inline
function upper(v: v128): v128 {
  return v128.shuffle<i64>(v, v, 1, 1);
}

@inline
function weighted(x: v128, y: v128, w: v128): v128 {
  const difference = f64x2.sub(f64x2.promote_low_f32x4(x), f64x2.promote_low_f32x4(y));
  return f64x2.mul(f64x2.mul(f64x2.promote_low_f32x4(w), difference), difference);
}
