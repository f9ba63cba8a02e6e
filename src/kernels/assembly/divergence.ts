// How far apart two things are: next-token distributions (softmax_rows, kl_rows) and tensors (compare).
// Rows of logits lie `stride = ceil(vocab / 16) * 16` values apart; the caller fills the padding with -FLT_MAX, which weighs nothing.
// Values go in runs of 16, four vectors at a time: a run is added in f32, (v0 + v1) + (v2 + v3), the runs in f64.
// pmax and comparisons instead of max and saturating conversions: the latter are many instructions on x86.

/** ln 2 in two parts, the first with few bits so that n * LN2_HIGH is exact. */
const LN2_HIGH: f32 = 0.693359375;
const LN2_LOW: f32 = -2.12194440e-4;
const LOG2_E: f32 = 1.44269504088896341;
/** Below this e^x is under the smallest normal f32 and counts as 0. */
const EXP_FLOOR: f32 = -87.0;
/** 1.5 * 2^23: adding it rounds an f32 to an integer, half to even, which then stands in the low bits. */
const ROUNDER: f32 = 12582912.0;

@inline
function widenLow(v: v128): v128 {
  return f64x2.promote_low_f32x4(v);
}

@inline
function widenHigh(v: v128): v128 {
  return f64x2.promote_low_f32x4(v128.shuffle<f32>(v, v, 2, 3, 2, 3));
}

@inline
function sumLanes(low: v128, high: v128): f64 {
  return (
    f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1) + (f64x2.extract_lane(high, 0) + f64x2.extract_lane(high, 1))
  );
}

/** c + r * p in f32: one step of Horner's rule. */
@inline
function horner(p: v128, r: v128, c: f32): v128 {
  return f32x4.add(f32x4.mul(p, r), f32x4.splat(c));
}

/** e^x for x <= 0 within 1 ulp, NaN for NaN: e^x = 2^n e^r with |r| <= ln(2)/2, e^r by the polynomial of Cephes' expf. */
@inline
function expNegative(x: v128): v128 {
  const rounded = f32x4.add(f32x4.mul(x, f32x4.splat(LOG2_E)), f32x4.splat(ROUNDER));
  const n = f32x4.sub(rounded, f32x4.splat(ROUNDER));
  const r = f32x4.sub(f32x4.sub(x, f32x4.mul(n, f32x4.splat(LN2_HIGH))), f32x4.mul(n, f32x4.splat(LN2_LOW)));
  let p = f32x4.splat(1.9875691500e-4);
  p = horner(p, r, 1.3981999507e-3);
  p = horner(p, r, 8.3334519073e-3);
  p = horner(p, r, 4.1665795894e-2);
  p = horner(p, r, 1.6666665459e-1);
  p = horner(p, r, 5.0000001201e-1);
  const e = f32x4.add(f32x4.add(f32x4.mul(p, f32x4.mul(r, r)), r), f32x4.splat(1.0));
  const power = i32x4.add(i32x4.shl(rounded, 23), i32x4.splat(127 << 23));
  return v128.andnot(f32x4.mul(e, power), f32x4.lt(x, f32x4.splat(EXP_FLOOR)));
}

/** e^(logit - shift) of four logits, stored. */
@inline
function storeExp(logits: usize, exps: usize, shift: v128): v128 {
  const e = expNegative(f32x4.sub(v128.load(logits), shift));
  v128.store(exps, e);
  return e;
}

@inline
function addFour(a: v128, b: v128, c: v128, d: v128): v128 {
  return f32x4.add(f32x4.add(a, b), f32x4.add(c, d));
}

@inline
function maxLane(v: v128): f32 {
  const pairs = f32x4.pmax(v, v128.shuffle<f32>(v, v, 2, 3, 2, 3));
  return f32x4.extract_lane(f32x4.pmax(pairs, v128.shuffle<f32>(pairs, pairs, 1, 1, 1, 1)), 0);
}

/** Index of the first value of the row that equals `value`, -1 when there is none. */
function indexOf(row: usize, stride: i32, value: f32): i32 {
  const wanted = f32x4.splat(value);
  for (let i: i32 = 0; i < stride; i += 4) {
    const equal = f32x4.eq(v128.load(row + (<usize>i << 2)), wanted);
    if (v128.any_true(equal)) return i + ctz(i32x4.bitmask(equal));
  }
  return -1;
}

/**
 * logits: f32[rows, stride] -> exps: f32[rows, stride] = e^(logit - max of the row),
 * stats: f64[rows, 3] = max, sum of the row's exps, index of the first maximum; the sum is NaN where a logit is
 */
export function softmax_rows(logits: usize, exps: usize, stats: usize, rows: i32, vocab: i32): void {
  const stride = (vocab + 15) & ~15;
  const rowBytes = <usize>stride << 2;
  for (let row: i32 = 0; row < rows; row++) {
    let top = v128.load(logits);
    for (let at: usize = 16; at < rowBytes; at += 16) top = f32x4.pmax(top, v128.load(logits + at));
    const highest = maxLane(top);
    const shift = f32x4.splat(highest);
    let low = f64x2.splat(0);
    let high = f64x2.splat(0);
    for (let at: usize = 0; at < rowBytes; at += 64) {
      const run = addFour(
        storeExp(logits + at, exps + at, shift),
        storeExp(logits + at + 16, exps + at + 16, shift),
        storeExp(logits + at + 32, exps + at + 32, shift),
        storeExp(logits + at + 48, exps + at + 48, shift),
      );
      low = f64x2.add(low, widenLow(run));
      high = f64x2.add(high, widenHigh(run));
    }
    store<f64>(stats, highest);
    store<f64>(stats, sumLanes(low, high), 8);
    store<f64>(stats, indexOf(logits, stride, highest), 16);
    logits += rowBytes;
    exps += rowBytes;
    stats += 24;
  }
}

/** p (u + q/p - 1) of four tokens, u = x - y - shift. */
@inline
function klTerm(x: usize, y: usize, ex: usize, ey: usize, toP: v128, toQ: v128, shift: v128): v128 {
  const p = f32x4.mul(v128.load(ex), toP);
  const q = f32x4.mul(v128.load(ey), toQ);
  const u = f32x4.sub(f32x4.sub(v128.load(x), v128.load(y)), shift);
  // u + e^-u - 1 = u^2 (1/2! - u/3! + u^2/4! - ...): 1e-8 relative for |u| < 1/4.
  let s = f32x4.splat(-1.0 / 5040.0);
  s = horner(s, u, 1.0 / 720.0);
  s = horner(s, u, -1.0 / 120.0);
  s = horner(s, u, 1.0 / 24.0);
  s = horner(s, u, -1.0 / 6.0);
  s = horner(s, u, 0.5);
  const near = f32x4.mul(f32x4.mul(p, f32x4.mul(u, u)), s);
  // p = 0 weighs nothing even where u is infinite.
  const pu = v128.and(f32x4.mul(p, u), f32x4.ne(p, f32x4.splat(0)));
  const far = f32x4.add(pu, f32x4.sub(q, p));
  return v128.bitselect(near, far, f32x4.lt(f32x4.abs(u), f32x4.splat(0.25)));
}

/**
 * KL(p || q) in nats of each row, p = softmax(x), q = softmax(y).
 * x, y: f32[rows, stride] logits; ex, ey, sx, sy: what softmax_rows gave for them; shift: f64[rows] = logsumexp(x) - logsumexp(y); out: f64[rows]
 *
 * With u = ln p - ln q the usual sum of p u cancels: its terms are of the order u, the result of the order u^2. Since p and q both
 * sum to 1, KL = sum of p (u + q/p - 1) = sum of p (u + e^-u - 1), whose terms are never negative and themselves of the order u^2:
 * nearly equal distributions keep their digits, and an error in `shift` has no first-order effect.
 */
export function kl_rows(
  x: usize, ex: usize, sx: usize, y: usize, ey: usize, sy: usize, shift: usize, out: usize, rows: i32, vocab: i32,
): void {
  const rowBytes = (<usize>((vocab + 15) & ~15)) << 2;
  for (let row: i32 = 0; row < rows; row++) {
    const toP = f32x4.splat(<f32>(1.0 / load<f64>(sx, 8)));
    const toQ = f32x4.splat(<f32>(1.0 / load<f64>(sy, 8)));
    const c = f32x4.splat(<f32>load<f64>(shift));
    let low = f64x2.splat(0);
    let high = f64x2.splat(0);
    for (let at: usize = 0; at < rowBytes; at += 64) {
      const run = addFour(
        klTerm(x + at, y + at, ex + at, ey + at, toP, toQ, c),
        klTerm(x + at + 16, y + at + 16, ex + at + 16, ey + at + 16, toP, toQ, c),
        klTerm(x + at + 32, y + at + 32, ex + at + 32, ey + at + 32, toP, toQ, c),
        klTerm(x + at + 48, y + at + 48, ex + at + 48, ey + at + 48, toP, toQ, c),
      );
      low = f64x2.add(low, widenLow(run));
      high = f64x2.add(high, widenHigh(run));
    }
    store<f64>(out, sumLanes(low, high));
    x += rowBytes;
    ex += rowBytes;
    y += rowBytes;
    ey += rowBytes;
    sx += 24;
    sy += 24;
    shift += 8;
    out += 8;
  }
}

/** x, y: f32[n]; adds to sums: f64[5] = sum x^2, sum y^2, sum (x - y)^2, sum x y, max |x - y|. The sums become NaN where a value is. */
export function compare(x: usize, y: usize, n: i32, sums: usize): void {
  let xxLow = f64x2.splat(0), xxHigh = f64x2.splat(0);
  let yyLow = f64x2.splat(0), yyHigh = f64x2.splat(0);
  let xyLow = f64x2.splat(0), xyHigh = f64x2.splat(0);
  let eeLow = f64x2.splat(0), eeHigh = f64x2.splat(0);
  let worst = f64x2.splat(0);
  const whole = <usize>(n & ~3) << 2;
  for (let at: usize = 0; at < whole; at += 16) {
    const a = v128.load(x + at), b = v128.load(y + at);
    const aLow = widenLow(a), aHigh = widenHigh(a);
    const bLow = widenLow(b), bHigh = widenHigh(b);
    const eLow = f64x2.sub(aLow, bLow), eHigh = f64x2.sub(aHigh, bHigh);
    xxLow = f64x2.add(xxLow, f64x2.mul(aLow, aLow));
    xxHigh = f64x2.add(xxHigh, f64x2.mul(aHigh, aHigh));
    yyLow = f64x2.add(yyLow, f64x2.mul(bLow, bLow));
    yyHigh = f64x2.add(yyHigh, f64x2.mul(bHigh, bHigh));
    xyLow = f64x2.add(xyLow, f64x2.mul(aLow, bLow));
    xyHigh = f64x2.add(xyHigh, f64x2.mul(aHigh, bHigh));
    eeLow = f64x2.add(eeLow, f64x2.mul(eLow, eLow));
    eeHigh = f64x2.add(eeHigh, f64x2.mul(eHigh, eHigh));
    worst = f64x2.pmax(worst, f64x2.pmax(f64x2.abs(eLow), f64x2.abs(eHigh)));
  }
  let xx = sumLanes(xxLow, xxHigh), yy = sumLanes(yyLow, yyHigh);
  let xy = sumLanes(xyLow, xyHigh), ee = sumLanes(eeLow, eeHigh);
  let most = max(f64x2.extract_lane(worst, 0), f64x2.extract_lane(worst, 1));
  const end = <usize>n << 2;
  for (let at = whole; at < end; at += 4) {
    const a: f64 = load<f32>(x + at), b: f64 = load<f32>(y + at);
    const e = a - b;
    xx += a * a;
    yy += b * b;
    xy += a * b;
    ee += e * e;
    most = max(most, abs(e));
  }
  store<f64>(sums, load<f64>(sums) + xx);
  store<f64>(sums, load<f64>(sums, 8) + yy, 8);
  store<f64>(sums, load<f64>(sums, 16) + ee, 16);
  store<f64>(sums, load<f64>(sums, 24) + xy, 24);
  store<f64>(sums, max(load<f64>(sums, 32), most), 32);
}
