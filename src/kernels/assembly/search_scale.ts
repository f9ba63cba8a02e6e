// The scale of a group, four groups at once, one a lane. See ref/search/scale.ref.ts, whose sums these are, in their order.
import { finite4, nearestInBook, nearestWhole, reciprocal4 } from './search_grid';

/** What the last sums gave, a vector each. */
export const sumLX: usize = memory.data(32, 16); // of two tries
export const sumL2: usize = memory.data(32, 16);
/** f32x4[8]: in units of the scale, then codebook values. */
export const values: usize = memory.data(128, 16);

/** sum w x value and sum w value^2 under two inverse scales, whole numbers. x, w: f32x4 up to byte `size` */
function wholeSums(x: usize, w: usize, size: usize, inverse0: v128, inverse1: v128, low: v128, high: v128): void {
  let lx0 = f32x4.splat(0), l20 = lx0, lx1 = lx0, l21 = lx0;
  for (let i: usize = 0; i < size; i += 16) {
    const v = v128.load(x + i), weight = v128.load(w + i);
    const value0 = nearestWhole(f32x4.mul(inverse0, v), low, high), value1 = nearestWhole(f32x4.mul(inverse1, v), low, high);
    const weighted0 = f32x4.mul(weight, value0), weighted1 = f32x4.mul(weight, value1);
    lx0 = f32x4.add(lx0, f32x4.mul(weighted0, v));
    l20 = f32x4.add(l20, f32x4.mul(weighted0, value0));
    lx1 = f32x4.add(lx1, f32x4.mul(weighted1, v));
    l21 = f32x4.add(l21, f32x4.mul(weighted1, value1));
  }
  keepSums(lx0, l20, lx1, l21);
}

/** The same on the codebook. */
function bookSums(x: usize, w: usize, size: usize, inverse0: v128, inverse1: v128): void {
  let lx0 = f32x4.splat(0), l20 = lx0, lx1 = lx0, l21 = lx0;
  for (let i: usize = 0; i < size; i += 64) {
    scaleInto(values, x + i, inverse0);
    scaleInto(values + 64, x + i, inverse1);
    nearestInBook(values);
    nearestInBook(values + 64);
    for (let j: usize = 0; j < 64; j += 16) {
      const v = v128.load(x + i + j), weight = v128.load(w + i + j);
      const value0 = v128.load(values + j), value1 = v128.load(values + 64 + j);
      const weighted0 = f32x4.mul(weight, value0), weighted1 = f32x4.mul(weight, value1);
      lx0 = f32x4.add(lx0, f32x4.mul(weighted0, v));
      l20 = f32x4.add(l20, f32x4.mul(weighted0, value0));
      lx1 = f32x4.add(lx1, f32x4.mul(weighted1, v));
      l21 = f32x4.add(l21, f32x4.mul(weighted1, value1));
    }
  }
  keepSums(lx0, l20, lx1, l21);
}

@inline
export function scaleInto(to: usize, x: usize, inverse: v128): void {
  for (let j: usize = 0; j < 64; j += 16) v128.store(to + j, f32x4.mul(inverse, v128.load(x + j)));
}

@inline
function keepSums(lx0: v128, l20: v128, lx1: v128, l21: v128): void {
  v128.store(sumLX, lx0);
  v128.store(sumLX, lx1, 16);
  v128.store(sumL2, l20);
  v128.store(sumL2, l21, 16);
}

/**
 * The best scales of four groups to `scale` and their curvature to `curvature`, f32x4 each. `count` is even.
 * The grid: whole numbers from low to high, or where low is 0 the codebook.
 */
export function fitScale(
  x: usize, w: usize, size: usize, low: f32, high: f32, from: f32, step: f32, count: i32, mirrored: bool, scale: usize,
  curvature: usize,
): void {
  let magnitude = f32x4.splat(0), extreme = magnitude;
  for (let i: usize = 0; i < size; i += 16) {
    const v = v128.load(x + i), size = f32x4.abs(v), larger = f32x4.gt(size, magnitude);
    magnitude = v128.bitselect(size, magnitude, larger);
    extreme = v128.bitselect(v, extreme, larger);
  }
  const lows = f32x4.splat(low), highs = f32x4.splat(high);
  let found = f32x4.splat(0), best = found, curved = found;
  const pace = mirrored ? 1 : 2;
  for (let i: i32 = 0; i <= count; i += pace) {
    let inverse0: v128, inverse1: v128;
    const repeated = i >= count;
    if (repeated) {
      inverse0 = inverse1 = reciprocal4(found);
    } else {
      const place = from + step * <f32>i;
      inverse0 = finite4(f32x4.div(f32x4.splat(place), extreme));
      inverse1 = finite4(f32x4.div(f32x4.splat(mirrored ? -place : from + step * <f32>(i + 1)), extreme));
    }
    if (low == 0) bookSums(x, w, size, inverse0, inverse1);
    else wholeSums(x, w, size, inverse0, inverse1, lows, highs);
    const tries: usize = repeated ? 16 : 32;
    for (let at: usize = 0; at < tries; at += 16) {
      const lx = v128.load(sumLX + at), l2 = v128.load(sumL2 + at);
      const better = v128.and(f32x4.gt(l2, f32x4.splat(0)), f32x4.gt(f32x4.mul(lx, lx), f32x4.mul(best, l2)));
      found = v128.bitselect(f32x4.div(lx, l2), found, better);
      curved = v128.bitselect(l2, curved, better);
      best = v128.bitselect(f32x4.mul(found, lx), best, better);
    }
  }
  v128.store(scale, found);
  v128.store(curvature, curved);
}
