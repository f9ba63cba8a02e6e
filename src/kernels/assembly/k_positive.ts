// fitPositive of ref/k-common.ref.ts (make_qp_quants of ggml) for the scales and the minima of a super-block together:
// scales in lane 0, minima in lane 1, the other two lanes idle.
import { fitMin, fitScale, nearestInt4, weightSum } from './k_common';

/** u8[groups] */
export const scaleCodes: usize = memory.data(16, 16);
export const minCodes: usize = memory.data(16, 16);
/** f32[2]: the unit of the scales, the unit of the minima. */
export const units: usize = memory.data(16, 16);

const pairs: usize = memory.data(256, 16); // f32[groups][4]: scale, min, 0, 0
const pairCodes: usize = memory.data(256, 16); // f32[groups][4]

/** fitScale and fitMin, weighted by weightSum -> units, scaleCodes, minCodes. Codes are C's uint8_t: a negative one wraps. */
export function fitPositive(groups: i32, top: i32): void {
  const end = <usize>groups << 4;
  const zero = f32x4.splat(0);
  const one = f32x4.splat(1);
  let largest = zero;
  for (let i: usize = 0; i < end; i += 16) {
    const pair = f32x4.replace_lane(f32x4.splat(load<f32>(fitMin + (i >> 2))), 0, load<f32>(fitScale + (i >> 2)));
    const value = v128.and(pair, i32x4(-1, -1, 0, 0));
    v128.store(pairs + i, value);
    largest = f32x4.pmax(largest, value);
  }
  const alive = f32x4.ge(largest, f32x4.splat(1e-15));

  let chosen = v128.and(f32x4.div(f32x4.splat(<f32>top), largest), alive);
  let best = zero;
  const scale = f32x4.div(one, chosen);
  for (let i: usize = 0; i < end; i += 16) {
    const value = v128.load(pairs + i);
    const code = v128.and(nearestInt4(f32x4.mul(chosen, value)), i32x4.splat(255));
    const error = f32x4.sub(value, f32x4.mul(scale, f32x4.convert_i32x4_s(code)));
    best = f32x4.add(best, f32x4.mul(f32x4.mul(v128.load32_splat(weightSum + (i >> 2)), error), error));
  }
  for (let s: i32 = -4; s <= 4; s++) {
    if (s == 0) continue;
    const stretched: f32 = <f32>0.1 * <f32>s + <f32>top;
    const inverse = v128.and(f32x4.div(f32x4.splat(stretched), largest), alive);
    const scale = f32x4.div(one, inverse);
    let sumError = zero;
    for (let i: usize = 0; i < end; i += 16) {
      const value = v128.load(pairs + i);
      const error = f32x4.sub(value, f32x4.mul(scale, encode(f32x4.mul(inverse, value), top)));
      sumError = f32x4.add(sumError, f32x4.mul(f32x4.mul(v128.load32_splat(weightSum + (i >> 2)), error), error));
    }
    const better = f32x4.lt(sumError, best);
    best = v128.bitselect(sumError, best, better);
    chosen = v128.bitselect(inverse, chosen, better);
  }

  let lx = zero;
  let l2 = zero;
  for (let i: usize = 0; i < end; i += 16) {
    const value = v128.load(pairs + i);
    const weight = v128.load32_splat(weightSum + (i >> 2));
    const code = encode(f32x4.mul(chosen, value), top);
    v128.store(pairCodes + i, wrap(code));
    lx = f32x4.add(lx, f32x4.mul(f32x4.mul(weight, value), code));
    l2 = f32x4.add(l2, f32x4.mul(f32x4.mul(weight, code), code));
  }
  for (let sweep = 0; sweep < 5; sweep++) {
    let changed = zero;
    for (let i: usize = 0; i < end; i += 16) {
      const value = v128.load(pairs + i);
      const weight = v128.load32_splat(weightSum + (i >> 2));
      const wx = f32x4.mul(weight, value);
      const old = v128.load(pairCodes + i);
      let otherLx = f32x4.sub(lx, f32x4.mul(wx, old));
      let otherL2 = f32x4.sub(l2, f32x4.mul(f32x4.mul(weight, old), old));
      const code = encode(f32x4.div(f32x4.mul(value, otherL2), otherLx), top);
      let better = v128.and(v128.and(f32x4.gt(otherLx, zero), f32x4.gt(otherL2, zero)), f32x4.ne(code, old));
      otherLx = f32x4.add(otherLx, f32x4.mul(wx, code));
      otherL2 = f32x4.add(otherL2, f32x4.mul(f32x4.mul(weight, code), code));
      const left = f32x4.mul(f32x4.mul(otherLx, otherLx), l2);
      const right = f32x4.mul(f32x4.mul(lx, lx), otherL2);
      better = v128.and(better, v128.and(f32x4.gt(left, right), alive));
      v128.store(pairCodes + i, v128.bitselect(wrap(code), old, better));
      lx = v128.bitselect(otherLx, lx, better);
      l2 = v128.bitselect(otherL2, l2, better);
      changed = v128.or(changed, better);
    }
    if (!v128.any_true(changed)) break;
  }

  v128.store(units, v128.and(f32x4.div(lx, l2), v128.and(f32x4.gt(l2, zero), alive)));
  for (let i: usize = 0; i < end; i += 16) {
    const code = v128.and(i32x4.trunc_sat_f32x4_s(v128.load(pairCodes + i)), alive);
    store<u8>(scaleCodes + (i >> 4), i32x4.extract_lane(code, 0));
    store<u8>(minCodes + (i >> 4), i32x4.extract_lane(code, 1));
  }
}

/** min(round(x), top) as floats. */
@inline
function encode(x: v128, top: i32): v128 {
  return f32x4.convert_i32x4_s(i32x4.min_s(nearestInt4(x), i32x4.splat(top)));
}

/** What is left of a code in 8 bits. */
@inline
function wrap(code: v128): v128 {
  return f32x4.convert_i32x4_s(v128.and(i32x4.trunc_sat_f32x4_s(code), i32x4.splat(255)));
}
