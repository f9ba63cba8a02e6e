// Q3_K: high[32], codes[64], scales[12], f16 d. See ref/q3_k.ref.ts.
import { loadHalf, toHalf } from './half';
import { bendImportance, codes, expandSymmetric, fitScale, laneX, nearestInt, sumOfSquares, toLanes } from './k_common';
import { crumbs, packCrumbs } from './k_crumbs';
import { fitSymmetricByDescent, searchedByDescent } from './k_descent';
import { fitLevels, fitSymmetric, roundSymmetric, searchedSymmetric } from './k_symmetric';

const BYTES: usize = 110;
const levels: usize = memory.data(16, 16); // u8[16]: scale + 32

/** x: f32[rows, cols], weights: f32[cols] or 0. */
export function encode_q3_k(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  for (let row: i32 = 0; row < rows; row++) {
    for (let column: i32 = 0; column < cols; column += 256) {
      toLanes(x, laneX, 16);
      let d: f32;
      if (weights) {
        bendImportance(weights + (<usize>column << 2), <f32>2 * sumOfSquares(x) / 256, 16);
        for (let quad: i32 = 0; quad < 4; quad++) fitSymmetric(quad, 4, true);
        d = fitLevels(levels);
      } else {
        fitSymmetricByDescent(4);
        d = levelByLargest();
      }
      store<u16>(out, toHalf(d), 108);
      packScales(out + 96);
      finish(x, out, weights != 0);
      x += 1024;
      out += BYTES;
    }
  }
}

function levelByLargest(): f32 {
  let largest: f32 = 0;
  for (let j: usize = 0; j < 64; j += 4) {
    const scale = load<f32>(fitScale + j);
    if (abs(scale) > abs(largest)) largest = scale;
  }
  memory.fill(levels, 0, 16);
  if (largest == 0) return 0;
  const inverse: f32 = -32 / largest;
  for (let j: usize = 0; j < 16; j++) {
    store<u8>(levels + j, max(-32, min(31, nearestInt(inverse * load<f32>(fitScale + (j << 2))))) + 32);
  }
  return 1 / inverse;
}

/** Low nibbles in 8 bytes (j and j + 8 share one), the upper two bits in 4 (j % 4 share one). */
function packScales(out: usize): void {
  memory.fill(out, 0, 12);
  for (let j: u32 = 0; j < 16; j++) {
    const level = <u32>load<u8>(levels + <usize>j);
    const low = out + <usize>(j & 7);
    const high = out + 8 + <usize>(j & 3);
    store<u8>(low, load<u8>(low) | ((level & 15) << (4 * (j >> 3))));
    store<u8>(high, load<u8>(high) | ((level >> 4) << (2 * (j >> 2))));
  }
}

@inline
function groupScale(packed: usize, j: i32): i32 {
  const low = (load<u8>(packed + <usize>(j & 7)) >> <u8>(4 * (j >> 3))) & 15;
  const high = (load<u8>(packed + 8 + <usize>(j & 3)) >> <u8>(2 * (j >> 2))) & 3;
  return (<i32>low | (<i32>high << 4)) - 32;
}

function finish(x: usize, out: usize, weighted: bool): void {
  const d = loadHalf(out + 108);
  for (let j: i32 = 0; j < 16; j++) {
    const step: f32 = d * <f32>(<i32>load<u8>(levels + <usize>j) - 32);
    // A zero step keeps the codes of the search, as C's `continue` does.
    if (step != 0) roundSymmetric(x, j, step, 4);
    else if (weighted) searchedSymmetric(x, j, 4);
    else searchedByDescent(j, 4);
  }
  packCodes(out);
}

/** The levels, shifted by 32, to 12 bytes at out + 96; the codes to the first 96. */
export function packSearched(d: f32, shifted: usize, out: usize): void {
  memory.copy(levels, shifted, 16);
  packScales(out + 96);
  store<u16>(out, toHalf(d), 108);
  packCodes(out);
}

function packCodes(out: usize): void {
  for (let i: usize = 0; i < 32; i += 16) {
    let high = i8x16.splat(0);
    for (let j: i32 = 0; j < 8; j++) {
      const third = v128.and(v128.load(codes + (<usize>j << 5) + i), i8x16.splat(4));
      high = v128.or(high, i16x8.shl(i16x8.shr_u(third, 2), j));
    }
    v128.store(out + i, high);
  }
  packCrumbs(out + 32);
}

/** blocks -> out: f32[n]. */
export function decode_q3_k(blocks: usize, out: usize, n: i32): void {
  for (let b: i32 = 0; b < n; b += 256) {
    const d = loadHalf(blocks + 108);
    for (let j: i32 = 0; j < 16; j++) {
      const high = v128.load(blocks + (<usize>(j & 1) << 4));
      const third = v128.and(i16x8.shl(i16x8.shr_u(high, j >> 1), 2), i8x16.splat(4));
      const code = i8x16.sub(v128.or(crumbs(blocks + 32, j), third), i8x16.splat(4));
      expandSymmetric(code, f32x4.splat(d * <f32>groupScale(blocks + 96, j)), out);
      out += 64;
    }
    blocks += BYTES;
  }
}
