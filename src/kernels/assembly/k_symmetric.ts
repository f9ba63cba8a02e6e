// fitSymmetric of ref/k-common.ref.ts (make_qx_quants of ggml), four groups of 16 at once. Values must be finite.
import { MAGIC, codes, fitInverse, fitScale, laneW, laneX, nearestInt, nearestInt4, weightSum } from './k_common';

const END: usize = 256; // bytes of one quad: 16 vectors
const found: usize = memory.data(64, 16);
const laneWX: usize = memory.data(256, 16); // f32[16][4]: weight * x

/** The value of largest magnitude of each lane, the first where magnitudes tie; 0 where all are below 1e-15. */
@inline
export function extreme(x: usize): v128 {
  let magnitude = f32x4.splat(0);
  let value = magnitude;
  for (let i: usize = 0; i < END; i += 16) {
    const v = v128.load(x + i);
    const size = f32x4.abs(v);
    const larger = f32x4.gt(size, magnitude);
    magnitude = v128.bitselect(size, magnitude, larger);
    value = v128.bitselect(v, value, larger);
  }
  return v128.and(value, f32x4.ge(magnitude, f32x4.splat(1e-15)));
}

/** Codes -max .. max - 1. Results go to fitScale and fitInverse; without `weighted` the weights are x^2. */
export function fitSymmetric(quad: i32, max: f32, weighted: bool): void {
  const x = laneX + <usize>quad * END;
  const w = laneW + <usize>quad * END;
  const zero = f32x4.splat(0);
  const largest = extreme(x);
  const alive = f32x4.ne(largest, zero);
  for (let i: usize = 0; i < END; i += 16) {
    const v = v128.load(x + i);
    if (!weighted) v128.store(w + i, f32x4.mul(v, v));
    v128.store(laneWX + i, f32x4.mul(v128.load(w + i), v));
  }

  const first = v128.and(f32x4.div(f32x4.splat(-max), largest), alive);
  sums(x, w, first, first, max, false);
  let chosen = first;
  let lx = v128.load(found, 0);
  let l2 = v128.load(found, 16);
  let scale = v128.and(f32x4.div(lx, l2), v128.and(f32x4.ne(l2, zero), alive));
  let best = f32x4.mul(scale, lx);
  for (let t: i32 = 1; t < 19; t += 2) {
    const inverse0 = v128.and(f32x4.div(f32x4.splat(-stretched(max, t)), largest), alive);
    const inverse1 = v128.and(f32x4.div(f32x4.splat(-stretched(max, t + 1)), largest), alive);
    // Below max + 0.5 nothing rounds past -max.
    if (t < 13) sums(x, w, inverse0, inverse1, max, false);
    else sums(x, w, inverse0, inverse1, max, true);
    for (let at: usize = 0; at < 64; at += 32) {
      lx = v128.load(found + at, 0);
      l2 = v128.load(found + at, 16);
      const better = v128.and(f32x4.gt(l2, zero), f32x4.gt(f32x4.mul(lx, lx), f32x4.mul(best, l2)));
      const thisScale = f32x4.div(lx, l2);
      chosen = v128.bitselect(at ? inverse1 : inverse0, chosen, better);
      scale = v128.bitselect(thisScale, scale, better);
      best = v128.bitselect(f32x4.mul(thisScale, lx), best, better);
    }
  }
  v128.store(fitScale + (<usize>quad << 4), scale);
  v128.store(fitInverse + (<usize>quad << 4), chosen);
}

/** The range of try t: max first, then max - 0.9, .. max - 0.1, max + 0.1, .. max + 0.9. */
@inline
function stretched(max: f32, t: i32): f32 {
  return t == 0 ? max : max + <f32>0.1 * <f32>(t < 10 ? t - 10 : t - 9);
}

/** Two tries side by side, which hides the latency of the sums: found = w x code, w code^2 of the first, then of the second. */
@inline
function sums(x: usize, w: usize, inverse0: v128, inverse1: v128, max: f32, below: bool): void {
  const magic = f32x4.splat(MAGIC);
  const floor = f32x4.splat(MAGIC - max);
  const ceiling = f32x4.splat(MAGIC + max - 1);
  let lx0 = f32x4.splat(0);
  let l20 = lx0;
  let lx1 = lx0;
  let l21 = lx0;
  for (let i: usize = 0; i < END; i += 16) {
    const v = v128.load(x + i);
    const wx = v128.load(laneWX + i);
    const weight = v128.load(w + i);
    const carried0 = f32x4.add(f32x4.mul(inverse0, v), magic);
    const carried1 = f32x4.add(f32x4.mul(inverse1, v), magic);
    const code0 = f32x4.sub(i32x4.min_s(below ? i32x4.max_s(carried0, floor) : carried0, ceiling), magic);
    const code1 = f32x4.sub(i32x4.min_s(below ? i32x4.max_s(carried1, floor) : carried1, ceiling), magic);
    lx0 = f32x4.add(lx0, f32x4.mul(wx, code0));
    lx1 = f32x4.add(lx1, f32x4.mul(wx, code1));
    l20 = f32x4.add(l20, f32x4.mul(f32x4.mul(weight, code0), code0));
    l21 = f32x4.add(l21, f32x4.mul(f32x4.mul(weight, code1), code1));
  }
  v128.store(found, lx0, 0);
  v128.store(found, l20, 16);
  v128.store(found, lx1, 32);
  v128.store(found, l21, 48);
}

/**
 * The same search for the sixteen scales in fitScale, weighted by weightSum, with max 32: levels[j] = code + 32, returns the
 * unit. There is one group only, so the tries stand in the lanes.
 */
export function fitLevels(levels: usize): f32 {
  let largest: f32 = 0;
  for (let j: usize = 0; j < 64; j += 4) {
    const scale = load<f32>(fitScale + j);
    if (abs(scale) > abs(largest)) largest = scale;
  }
  if (abs(largest) < <f32>1e-15) {
    memory.fill(levels, 0, 16);
    return 0;
  }
  let chosen: f32 = 0;
  let scale: f32 = 0;
  let best: f32 = 0;
  for (let t: i32 = 0; t < 19; t += 4) {
    const ranges = f32x4(stretched(32, t), stretched(32, t + 1), stretched(32, t + 2), stretched(32, t + 3));
    const inverses = f32x4.div(f32x4.neg(ranges), f32x4.splat(largest));
    let lx = f32x4.splat(0);
    let l2 = lx;
    for (let j: usize = 0; j < 64; j += 4) {
      const x = v128.load32_splat(fitScale + j);
      const w = v128.load32_splat(weightSum + j);
      const rounded = nearestInt4(f32x4.mul(inverses, x));
      const code = f32x4.convert_i32x4_s(i32x4.max_s(i32x4.min_s(rounded, i32x4.splat(31)), i32x4.splat(-32)));
      lx = f32x4.add(lx, f32x4.mul(f32x4.mul(w, x), code));
      l2 = f32x4.add(l2, f32x4.mul(f32x4.mul(w, code), code));
    }
    v128.store(found, lx, 0);
    v128.store(found, l2, 16);
    v128.store(found, inverses, 32);
    // The last vector has three tries.
    for (let lane: i32 = 0; lane < min(4, 19 - t); lane++) {
      const at = found + (<usize>lane << 2);
      const thisLx = load<f32>(at, 0);
      const thisL2 = load<f32>(at, 16);
      const first = t + lane == 0;
      if (!first && !(thisL2 > 0 && thisLx * thisLx > best * thisL2)) continue;
      chosen = load<f32>(at, 32);
      scale = thisL2 != 0 ? thisLx / thisL2 : 0;
      best = scale * thisLx;
    }
  }
  for (let j: usize = 0; j < 16; j++) {
    const code = nearestInt(chosen * load<f32>(fitScale + (j << 2)));
    store<u8>(levels + j, max(-32, min(31, code)) + 32);
  }
  return scale;
}

/** codes[16 j ..] = clamp(round(x / step), -max, max - 1) + max. */
export function roundSymmetric(x: usize, j: i32, step: f32, max: i32): void {
  const from = x + (<usize>j << 6);
  const step4 = f32x4.splat(step);
  const a = nearestInt4(f32x4.div(v128.load(from, 0), step4));
  const b = nearestInt4(f32x4.div(v128.load(from, 16), step4));
  const c = nearestInt4(f32x4.div(v128.load(from, 32), step4));
  const d = nearestInt4(f32x4.div(v128.load(from, 48), step4));
  const bytes = i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d));
  const clamped = i8x16.max_s(i8x16.min_s(bytes, i8x16.splat(<i8>(max - 1))), i8x16.splat(<i8>-max));
  v128.store(codes + (<usize>j << 4), i8x16.add(clamped, i8x16.splat(<i8>max)));
}

/** The codes of the winning try of group j: what ggml leaves in a group whose final step is zero; 0 in a zero group. */
export function searchedSymmetric(x: usize, j: i32, top: i32): void {
  const inverse = load<f32>(fitInverse + (<usize>j << 2));
  for (let i: usize = 0; i < 16; i++) {
    const code = nearestInt(inverse * load<f32>(x + (<usize>j << 6) + (i << 2)));
    store<u8>(codes + (<usize>j << 4) + i, inverse == 0 ? 0 : max(-top, min(top - 1, code)) + top);
  }
}
