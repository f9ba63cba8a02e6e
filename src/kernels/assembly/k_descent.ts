// fitSymmetricByDescent of ref/k-common.ref.ts (make_q3_quants of ggml) for all sixteen groups of 16 of a super-block.
import { codes, fitScale, laneW, laneX, nearestInt4 } from './k_common';
import { extreme } from './k_symmetric';

const QUAD: usize = 256; // bytes of four groups: 16 vectors
const STATE: usize = 64;
const laneWX: usize = memory.data(1024, 16); // f32[4][16][4]: x^2 * x
const laneCode: usize = memory.data(1024, 16); // f32[4][16][4]
const sums: usize = memory.data(256, 16); // a quad's w x code, w code^2, lanes that are no zero group, lanes changed

/** Codes -max .. max - 1 in laneCode, scales in fitScale. */
export function fitSymmetricByDescent(max: i32): void {
  for (let quad: usize = 0; quad < 4; quad++) start(quad, max);
  // A sweep that changes nothing in four groups is their last.
  let active: i32 = 15;
  for (let sweep = 0; sweep < 5 && active != 0; sweep++) {
    for (let i: usize = 0; i < QUAD; i += 16) {
      // One element's change waits for the one before: the four quads, which do not, fill that time.
      for (let quad: usize = 0; quad < 4; quad++) {
        if ((active >> <i32>quad) & 1) improve(i + quad * QUAD, sums + quad * STATE, max);
      }
    }
    active = 0;
    for (let quad: usize = 0; quad < 4; quad++) {
      const changed = sums + quad * STATE + 48;
      active |= <i32>v128.any_true(v128.load(changed)) << <i32>quad;
      v128.store(changed, i32x4.splat(0));
    }
  }
  for (let quad: usize = 0; quad < 4; quad++) {
    const lx = v128.load(sums + quad * STATE, 0);
    const l2 = v128.load(sums + quad * STATE, 16);
    v128.store(fitScale + (quad << 4), v128.and(f32x4.div(lx, l2), f32x4.gt(l2, f32x4.splat(0))));
  }
}

@inline
function start(quad: usize, max: i32): void {
  const x = laneX + quad * QUAD;
  const largest = extreme(x);
  const alive = f32x4.ne(largest, f32x4.splat(0));
  const inverse = v128.and(f32x4.div(f32x4.splat(<f32>-max), largest), alive);
  let lx = f32x4.splat(0);
  let l2 = lx;
  for (let i: usize = 0; i < QUAD; i += 16) {
    const v = v128.load(x + i);
    const w = f32x4.mul(v, v);
    const wx = f32x4.mul(w, v);
    const code = encode(f32x4.mul(inverse, v), max);
    lx = f32x4.add(lx, f32x4.mul(wx, code));
    l2 = f32x4.add(l2, f32x4.mul(f32x4.mul(w, code), code));
    v128.store(laneW + quad * QUAD + i, w);
    v128.store(laneWX + quad * QUAD + i, wx);
    v128.store(laneCode + quad * QUAD + i, code);
  }
  v128.store(sums + quad * STATE, lx, 0);
  v128.store(sums + quad * STATE, l2, 16);
  v128.store(sums + quad * STATE, alive, 32);
  v128.store(sums + quad * STATE, i32x4.splat(0), 48);
}

/** Gives the element at byte i the code that is best beside the others, where that helps. */
@inline
function improve(i: usize, state: usize, max: i32): void {
  const zero = f32x4.splat(0);
  const w = v128.load(laneW + i);
  const wx = v128.load(laneWX + i);
  const old = v128.load(laneCode + i);
  const lx = v128.load(state, 0);
  const l2 = v128.load(state, 16);
  const otherLx = f32x4.sub(lx, f32x4.mul(wx, old));
  const otherL2 = f32x4.sub(l2, f32x4.mul(f32x4.mul(w, old), old));
  const code = encode(f32x4.div(f32x4.mul(v128.load(laneX + i), otherL2), otherLx), max);
  const newLx = f32x4.add(otherLx, f32x4.mul(wx, code));
  const newL2 = f32x4.add(otherL2, f32x4.mul(f32x4.mul(w, code), code));
  const left = f32x4.mul(f32x4.mul(newLx, newLx), l2);
  const right = f32x4.mul(f32x4.mul(lx, lx), newL2);
  const allowed = v128.and(v128.and(f32x4.gt(otherLx, zero), f32x4.gt(newL2, zero)), v128.load(state, 32));
  const better = v128.and(v128.and(allowed, f32x4.ne(code, old)), f32x4.gt(left, right));
  v128.store(laneCode + i, v128.bitselect(code, old, better));
  v128.store(state, v128.bitselect(newLx, lx, better), 0);
  v128.store(state, v128.bitselect(newL2, l2, better), 16);
  v128.store(state, v128.or(v128.load(state, 48), better), 48);
}

/** clamp(round(x), -max, max - 1) as floats; x may be anything, as the quotient has no bound. */
@inline
function encode(x: v128, max: i32): v128 {
  return f32x4.convert_i32x4_s(i32x4.min_s(i32x4.max_s(nearestInt4(x), i32x4.splat(-max)), i32x4.splat(max - 1)));
}

/** What the search left in group j, shifted by max; 0 in a zero group. */
export function searchedByDescent(j: i32, max: i32): void {
  const quad = <usize>j >> 2;
  const lane = <usize>(j & 3) << 2;
  const alive = load<i32>(sums + quad * STATE + 32 + lane);
  for (let i: usize = 0; i < 16; i++) {
    const code = <i32>load<f32>(laneCode + quad * QUAD + (i << 4) + lane);
    store<u8>(codes + (<usize>j << 4) + i, (code + max) & alive);
  }
}
