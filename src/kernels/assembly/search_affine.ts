// Scale and minimum of a group, four groups at once. See ref/search/affine.ref.ts, whose sums these are, in their order.
import { finite4, nearestWhole, reciprocal4 } from './search_grid';

/** The fits of up to four quads, a vector each. */
export const fitScales: usize = memory.data(64, 16);
export const fitMins: usize = memory.data(64, 16);
export const weightSums: usize = memory.data(64, 16); // sum w
export const valueSums: usize = memory.data(64, 16); // sum w x
export const codeSums: usize = memory.data(64, 16); // sum w code
export const squareSums: usize = memory.data(64, 16); // sum w code^2

/** x, w: f32x4 up to byte `size`; results to the vectors at `at`. Codes from 0 to `top`. */
export function fitAffine(
  x: usize, w: usize, size: usize, top: f32, from: f32, step: f32, cutFrom: f32, cutStep: f32, cut: f32, nonPositive: bool,
  at: usize,
): void {
  const zero = f32x4.splat(0);
  let low = v128.load(x), high = low;
  for (let i: usize = 0; i < size; i += 16) {
    const v = v128.load(x + i);
    low = f32x4.pmin(low, v);
    high = f32x4.pmax(high, v);
  }
  const base = nonPositive ? v128.bitselect(zero, low, f32x4.gt(low, zero)) : low;
  const range = f32x4.sub(high, base);
  let sumW = zero, sumX = zero, sumZ = zero;
  for (let i: usize = 0; i < size; i += 16) {
    const v = v128.load(x + i), weight = v128.load(w + i);
    sumW = f32x4.add(sumW, weight);
    sumX = f32x4.add(sumX, f32x4.mul(weight, v));
    sumZ = f32x4.add(sumZ, f32x4.mul(weight, f32x4.sub(v, base)));
  }
  const highest = nonPositive ? f32x4.neg(base) : f32x4.splat(Infinity), ceiling = f32x4.splat(top);
  const doubleZ = f32x4.add(sumZ, sumZ);
  let scale = zero, offset = f32x4.pmin(finite4(f32x4.div(sumZ, sumW)), highest);
  let best = f32x4.mul(offset, f32x4.sub(doubleZ, f32x4.mul(offset, sumW)));
  let bestL = zero, bestL2 = zero;
  for (let t: i32 = 0; t < 19; t++) {
    let inverse: v128, start = zero;
    if (t < 10) {
      inverse = finite4(f32x4.div(f32x4.splat(from + step * <f32>t), range));
    } else if (t < 18) {
      inverse = finite4(f32x4.div(f32x4.splat(cutFrom + cutStep * <f32>(t - 10)), range));
      start = finite4(f32x4.div(f32x4.splat(cut), inverse));
    } else {
      inverse = reciprocal4(scale);
      start = offset;
    }
    let l = zero, l2 = zero, lz = zero;
    for (let i: usize = 0; i < size; i += 16) {
      const z = f32x4.sub(v128.load(x + i), base);
      const code = nearestWhole(f32x4.mul(f32x4.sub(z, start), inverse), zero, ceiling);
      const weighted = f32x4.mul(v128.load(w + i), code);
      l = f32x4.add(l, weighted);
      l2 = f32x4.add(l2, f32x4.mul(weighted, code));
      lz = f32x4.add(lz, f32x4.mul(weighted, z));
    }
    const determinant = f32x4.sub(f32x4.mul(sumW, l2), f32x4.mul(l, l));
    const freeS = f32x4.div(f32x4.sub(f32x4.mul(sumW, lz), f32x4.mul(sumZ, l)), determinant);
    const freeO = f32x4.div(f32x4.sub(f32x4.mul(l2, sumZ), f32x4.mul(l, lz)), determinant);
    const bound = f32x4.lt(highest, freeO);
    const o = v128.bitselect(highest, freeO, bound);
    const s = v128.bitselect(f32x4.div(f32x4.sub(lz, f32x4.mul(o, l)), l2), freeS, bound);
    const ofScale = f32x4.mul(
      s,
      f32x4.sub(f32x4.add(lz, lz), f32x4.add(f32x4.mul(s, l2), f32x4.mul(f32x4.add(o, o), l))),
    );
    const gain = f32x4.add(ofScale, f32x4.mul(o, f32x4.sub(doubleZ, f32x4.mul(o, sumW))));
    const better = v128.and(f32x4.gt(determinant, zero), f32x4.gt(gain, best));
    scale = v128.bitselect(s, scale, better);
    offset = v128.bitselect(o, offset, better);
    best = v128.bitselect(gain, best, better);
    bestL = v128.bitselect(l, bestL, better);
    bestL2 = v128.bitselect(l2, bestL2, better);
  }
  v128.store(fitScales + at, scale);
  v128.store(fitMins + at, f32x4.add(base, offset));
  v128.store(weightSums + at, sumW);
  v128.store(valueSums + at, sumX);
  v128.store(codeSums + at, bestL);
  v128.store(squareSums + at, bestL2);
}
