// The legacy types under an importance matrix: weights are bent by the variance of the whole row, then four or eight blocks
// search at once.
import { BLOCK, bendQuad, blockAt, gather } from './blocks';
import { fitAffine } from './k_affine';
import { MAGIC, fitBase, fitInverse, fitMin, fitScale, laneW, laneX, nearestInt4 } from './k_common';
import { quadExtreme } from './symmetric';

const codes: usize = memory.data(512, 16); // i32x4[32], code j of four blocks
const bytes: usize = memory.data(256, 16); // u8[8][32]

/** Blocks i .. i + 3 of a row and their weights, one block a lane, to byte `at` of laneX and laneW. */
@inline
function loadQuad(row: usize, i: usize, last: usize, weights: usize, sigma2: f32, at: usize): void {
  toQuad(row, i, last, laneX + at);
  toQuad(weights, i, last, laneW + at);
  bendQuad(laneX + at, laneW + at, sigma2);
}

@inline
function toQuad(row: usize, i: usize, last: usize, to: usize): void {
  gather(
    blockAt(row, i, 0, last, BLOCK), blockAt(row, i, 1, last, BLOCK),
    blockAt(row, i, 2, last, BLOCK), blockAt(row, i, 3, last, BLOCK), to,
  );
}

/** x ~ scale * (code - half): leaves the scales in fitScale, codes for `codesOfLane`. fitSymmetric of ref/k-common.ref.ts. */
export function searchSymmetric(row: usize, i: usize, last: usize, weights: usize, sigma2: f32, half: f32): void {
  loadQuad(row, i, last, weights, sigma2, 0);
  const extreme = quadExtreme(row, i, last);
  const zero = f32x4.splat(0);
  const alive = f32x4.ge(f32x4.abs(extreme), f32x4.splat(1e-15));
  let inverse = f32x4.div(f32x4.splat(-half), extreme);
  let scale = zero, best = zero;
  for (let step: i32 = -10; step <= 9; step++) {
    if (step == 0) continue;
    const first = step == -10;
    const tried = first ? inverse : f32x4.div(f32x4.splat(-(half + <f32>0.1 * <f32>step)), extreme);
    let lx = zero, l2 = zero;
    for (let j: usize = 0; j < 512; j += 16) {
      const v = v128.load(laneX + j), w = v128.load(laneW + j);
      const l = level(f32x4.mul(tried, v), half);
      lx = f32x4.add(lx, f32x4.mul(f32x4.mul(w, v), l));
      l2 = f32x4.add(l2, f32x4.mul(f32x4.mul(w, l), l));
    }
    const better = v128.and(
      f32x4.gt(l2, zero),
      first ? f32x4.eq(zero, zero) : f32x4.gt(f32x4.mul(lx, lx), f32x4.mul(best, l2)),
    );
    scale = v128.bitselect(f32x4.div(lx, l2), scale, better);
    best = v128.bitselect(f32x4.mul(scale, lx), best, better);
    inverse = v128.bitselect(tried, inverse, better);
  }
  for (let j: usize = 0; j < 512; j += 16) {
    const code = f32x4.add(level(f32x4.mul(inverse, v128.load(laneX + j)), half), f32x4.splat(half));
    v128.store(codes + j, v128.and(i32x4.trunc_sat_f32x4_s(code), alive));
  }
  toBytes(bytes);
  v128.store(fitScale, v128.and(scale, alive));
}

/** clamp(round(x), -half, half - 1) as floats; the caller's |x| stay far below 2^22. */
@inline
function level(x: v128, half: f32): v128 {
  const carried = f32x4.add(x, f32x4.splat(MAGIC));
  const clamped = f32x4.pmin(f32x4.pmax(carried, f32x4.splat(MAGIC - half)), f32x4.splat(MAGIC + half - 1));
  return f32x4.sub(clamped, f32x4.splat(MAGIC));
}

/**
 * x ~ scale * code + min for blocks i .. i + 7: leaves scales in fitScale, minus the minima in fitMin, codes for `codesOfLane`.
 * fitAffine of ref/k-common.ref.ts.
 */
export function searchAffine(row: usize, i: usize, last: usize, weights: usize, sigma2: f32, top: i32): void {
  loadQuad(row, i, last, weights, sigma2, 0);
  loadQuad(row, i + 4, last, weights, sigma2, 512);
  fitAffine(32, <f32>top, -0.9, 0.05, 36, false);
  for (let quad: usize = 0; quad < 2; quad++) {
    const inverse = v128.load(fitInverse + 16 * quad), base = v128.load(fitBase + 16 * quad);
    for (let j: usize = 0; j < 512; j += 16) {
      const code = nearestInt4(f32x4.mul(inverse, f32x4.sub(v128.load(laneX + 512 * quad + j), base)));
      v128.store(codes + j, i32x4.min_s(i32x4.max_s(code, i32x4.splat(0)), i32x4.splat(top)));
    }
    toBytes(bytes + 128 * quad);
  }
}

/** Codes from .. from + 15 of the block in a lane, u8x16. */
@inline
export function codesOfLane(lane: usize, from: usize): v128 {
  return v128.load(bytes + lane * 32 + from);
}

/** codes: i32x4[32] -> to: u8[4][32] */
function toBytes(to: usize): void {
  for (let half: usize = 0; half < 32; half += 16) {
    const from = codes + half * 16;
    const a = fourCodes(from), b = fourCodes(from + 64), c = fourCodes(from + 128), d = fourCodes(from + 192);
    const ab = v128.shuffle<f32>(a, b, 0, 4, 1, 5), AB = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
    const cd = v128.shuffle<f32>(c, d, 0, 4, 1, 5), CD = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
    v128.store(to + half, v128.shuffle<f64>(ab, cd, 0, 2));
    v128.store(to + half + 32, v128.shuffle<f64>(ab, cd, 1, 3));
    v128.store(to + half + 64, v128.shuffle<f64>(AB, CD, 0, 2));
    v128.store(to + half + 96, v128.shuffle<f64>(AB, CD, 1, 3));
  }
}

/** Four codes a lane -> one word a lane. */
@inline
function fourCodes(at: usize): v128 {
  return v128.or(
    v128.or(v128.load(at), i32x4.shl(v128.load(at, 16), 8)),
    v128.or(i32x4.shl(v128.load(at, 32), 16), i32x4.shl(v128.load(at, 48), 24)),
  );
}
