// What IQ4_NL and IQ4_XS share: the codebook, the search for the scale of 32 values and their codes. See ref/iq4.ref.ts.
//
// The search encodes a block under 16 inverse scales (-134 .. -120 over the extreme and, first, 127 over it) and needs two sums
// for each, in order. Here the 16 tries are the lanes of four vectors. From -134 to -120 a value shrinks by less than the ratio
// of any two neighbouring midpoints of the codebook, so it changes its code at most once, towards zero: a value is known by its
// code under -134, the magnitude below which it changes, and the change. The first try, the last lane, has its own codes.
import { highNibbles, lowNibbles, storeScaled16 } from './blocks';

/** i8x16: what the codes mean. */
const VALUES = i8x16(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
const values: usize = memory.data<i8>([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], 16);

/** Midpoints are multiples of 1/2, so floor(2 x) decides the code of x; tables are indexed by that, from -SPAN to SPAN - 1. */
const SPAN: i32 = 272;
const codeTable: usize = memory.data(544, 16); // u8
const changeTable: usize = memory.data(544 * 12, 16); // f32 [value, edge, change]

const entries: usize = memory.data(128, 16); // u32[32]: addresses in changeTable under -134 / extreme
const firstEntries: usize = memory.data(128, 16); // u32[32]: the same under 127 / extreme
const squares: usize = memory.data(128, 16); // f32[32]
const tries: usize = memory.data(64, 16); // f32[16]: magnitudes of the inverse scales
const sumsX: usize = memory.data(64, 16); // f32[16]: sum of weight * value * x
const sums2: usize = memory.data(64, 16); // f32[16]: sum of weight * value^2

fillTables();

@inline
function valueOf(code: i32): i32 {
  return load<i8>(values + code);
}

function fillTables(): void {
  for (let z = -SPAN; z < SPAN; z++) {
    let code: i32 = 0;
    while (code < 15 && z >= valueOf(code) + valueOf(code + 1)) code++;
    store<u8>(codeTable + (z + SPAN), code);
    const next = z < 0 ? code + 1 : code - 1;
    const doubled: i32 = next >= 0 && next < 16 ? valueOf(code) + valueOf(next) : 0;
    const midpoint = <f32>0.5 * <f32>doubled;
    const changes = z < 0 ? midpoint < 0 : midpoint > 0; // midpoints beyond zero are never reached
    // A value on a midpoint has the upper code: a negative one changes at the midpoint, a positive one below it.
    const edge = z < 0 ? reinterpret<f32>(reinterpret<i32>(abs(midpoint)) + 1) : midpoint;
    const entry = changeTable + (z + SPAN) * 12;
    store<f32>(entry, <f32>valueOf(code));
    store<f32>(entry, changes ? edge : 0, 4);
    store<f32>(entry, changes ? <f32>(valueOf(next) - valueOf(code)) : 0, 8);
  }
}

/** The scale of a block. x: f32[32], extreme: its first value of largest magnitude, weights: f32[32] or 0 for x^2 */
export function codebookScale(x: usize, extreme: f32, weights: usize): f32 {
  if (abs(extreme) < 1e-15) return 0;
  const divisor = f32x4.splat(abs(extreme));
  v128.store(tries, f32x4.div(f32x4(134, 133, 132, 131), divisor));
  v128.store(tries, f32x4.div(f32x4(130, 129, 128, 127), divisor), 16);
  v128.store(tries, f32x4.div(f32x4(126, 125, 124, 123), divisor), 32);
  v128.store(tries, f32x4.div(f32x4(122, 121, 120, 0), divisor), 48);

  const largest = f32x4.splat(-134 / extreme), first = f32x4.splat(1 / (extreme / 127));
  for (let j: usize = 0; j < 128; j += 16) {
    const v = v128.load(x + j);
    v128.store(entries + j, entryOf(f32x4.mul(v, largest)));
    v128.store(firstEntries + j, entryOf(f32x4.mul(v, first)));
    if (!weights) v128.store(squares + j, f32x4.mul(v, v));
  }
  const w = weights ? weights : squares;
  sumEightTries(x, w, 0, false);
  sumEightTries(x, w, 32, true);

  let scale: f32 = 0;
  let best: f32 = 0;
  if (load<f32>(sums2, 60) > 0) {
    scale = load<f32>(sumsX, 60) / load<f32>(sums2, 60);
    best = scale * load<f32>(sumsX, 60);
  }
  for (let t: usize = 0; t < 60; t += 4) {
    const qx = load<f32>(sumsX + t), q2 = load<f32>(sums2 + t);
    if (q2 > 0 && qx * qx > best * q2) {
      scale = qx / q2;
      best = scale * qx;
    }
  }
  return scale;
}

/** Addresses in changeTable. Only values that are not finite, which callers refuse, could lie outside of it. */
@inline
function entryOf(scaled: v128): v128 {
  const inside = f32x4.pmax(f32x4.splat(-135), f32x4.pmin(f32x4.splat(135), scaled));
  const z = i32x4.trunc_sat_f32x4_s(f32x4.floor(f32x4.add(inside, inside)));
  return i32x4.add(i32x4.mul(z, i32x4.splat(12)), i32x4.splat(<i32>changeTable + 12 * SPAN));
}

/** Both sums of the tries at byte `at` of `tries`; with `first` the last lane is the first try. */
@inline
function sumEightTries(x: usize, weights: usize, at: usize, first: bool): void {
  const inverse0 = v128.load(tries + at), inverse1 = v128.load(tries + at, 16);
  let x0 = f32x4.splat(0), x1 = x0, q0 = x0, q1 = x0;
  for (let j: usize = 0; j < 128; j += 4) {
    const entry: usize = load<u32>(entries + j);
    const v = v128.load32_splat(x + j), w = v128.load32_splat(weights + j);
    const value = v128.load32_splat(entry), edge = v128.load32_splat(entry, 4), change = v128.load32_splat(entry, 8);
    const magnitude = f32x4.abs(v);
    const value0 = f32x4.add(value, v128.and(change, f32x4.lt(f32x4.mul(inverse0, magnitude), edge)));
    let value1 = f32x4.add(value, v128.and(change, f32x4.lt(f32x4.mul(inverse1, magnitude), edge)));
    if (first) value1 = f32x4.replace_lane(value1, 3, load<f32>(load<u32>(firstEntries + j)));
    const weighted0 = f32x4.mul(w, value0), weighted1 = f32x4.mul(w, value1);
    x0 = f32x4.add(x0, f32x4.mul(weighted0, v));
    x1 = f32x4.add(x1, f32x4.mul(weighted1, v));
    q0 = f32x4.add(q0, f32x4.mul(weighted0, value0));
    q1 = f32x4.add(q1, f32x4.mul(weighted1, value1));
  }
  v128.store(sumsX + at, x0);
  v128.store(sumsX + at, x1, 16);
  v128.store(sums2 + at, q0);
  v128.store(sums2 + at, q1, 16);
}

/** x: f32[32] -> 16 bytes of codes under a scale; scale 0 gives the code of 0. */
@inline
export function storeCodes(x: usize, scale: f32, out: usize): void {
  const inverse = f32x4.splat(scale != 0 ? 1 / scale : 0);
  for (let j: usize = 0; j < 16; j += 4) {
    store<u32>(out + j, fourCodes(x + 4 * j, inverse) | (fourCodes(x + 64 + 4 * j, inverse) << 4));
  }
}

/** x: f32[4] -> four bytes. NaN counts as large, as in ggml's bisection. */
@inline
function fourCodes(x: usize, inverse: v128): u32 {
  const scaled = f32x4.pmax(f32x4.splat(-128), f32x4.pmin(f32x4.splat(128), f32x4.mul(v128.load(x), inverse)));
  const z = i32x4.trunc_sat_f32x4_s(f32x4.floor(f32x4.add(scaled, scaled)));
  const table = codeTable + SPAN;
  return (
    <u32>load<u8>(table + i32x4.extract_lane(z, 0)) |
    (<u32>load<u8>(table + i32x4.extract_lane(z, 1)) << 8) |
    (<u32>load<u8>(table + i32x4.extract_lane(z, 2)) << 16) |
    (<u32>load<u8>(table + i32x4.extract_lane(z, 3)) << 24)
  );
}

/** weights = importance * sqrt(sigma2 + x^2); all f32[n] */
export function bend(x: usize, importance: usize, sigma2: f32, weights: usize, n: usize): void {
  for (let j: usize = 0; j < n << 2; j += 16) {
    const v = v128.load(x + j);
    const bent = f32x4.sqrt(f32x4.add(f32x4.splat(sigma2), f32x4.mul(v, v)));
    v128.store(weights + j, f32x4.mul(v128.load(importance + j), bent));
  }
}

/** 16 bytes of codes -> out: f32[32] */
@inline
export function decodeCodes(at: usize, out: usize, scale: v128): void {
  const bytes = v128.load(at);
  storeScaled16(out, i8x16.swizzle(VALUES, lowNibbles(bytes)), scale);
  storeScaled16(out + 64, i8x16.swizzle(VALUES, highNibbles(bytes)), scale);
}
