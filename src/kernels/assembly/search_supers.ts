// The search for the types whose blocks are 256 values. See ref/search/searched.ref.ts.
import { BLOCK } from './blocks';
import { toHalf } from './half';
import { storeCodes } from './iq4';
import { decode_iq4_xs, encode_iq4_xs } from './iq4_xs';
import { packLevels32 } from './k_affine32';
import { codes, laneW, laneX, roundAffine, toLanes } from './k_common';
import { packCrumbs } from './k_crumbs';
import { minCodes, scaleCodes, units } from './k_positive';
import { roundSymmetric } from './k_symmetric';
import { decode_q2_k, encode_q2_k } from './q2_k';
import { decode_q3_k, encode_q3_k, packSearched } from './q3_k';
import { decode_q4_k, encode_q4_k, packNibbles32 } from './q4_k';
import { decode_q5_k, encode_q5_k, packFive32 } from './q5_k';
import { decode_q6_k, encode_q6_k, packSix } from './q6_k';
import { affineLevels, affineMins, affineMinUnits, affineUnits, searchAffineBlock } from './search_affine_block';
import { keepBetter, ones, trial } from './search_keep';
import { foundLevels, foundUnits, searchScaled } from './search_scaled';

type Decode = (blocks: usize, out: usize, n: i32) => void;
/** Searches the super-block in laneX and laneW and writes the trial of the same at x. */
type Search = (x: usize) => void;

const shifted: usize = memory.data(16, 16); // u8[16]

function everySuper(
  x: usize, out: usize, rows: i32, cols: i32, weights: usize, n: i32, bytes: usize, search: Search, decode: Decode,
): void {
  if (!weights) memory.copy(laneW, ones, 1024);
  for (let row: i32 = 0; row < rows; row++) {
    for (let column: usize = 0; column < <usize>cols << 2; column += 1024, x += 1024, out += bytes) {
      toLanes(x, laneX, n);
      if (weights) toLanes(weights + column, laneW, n);
      search(x);
      keepBetter(x, weights ? weights + column : ones, out, 256, bytes, decode);
    }
  }
}

@inline
function level(levels: usize, g: usize): f32 {
  return load<f32>(levels + (g << 2));
}

/** Codes of sixteen groups of 16 under scales, counted from the lowest; 0 under step 0. */
function scaledCodes(x: usize, half: i32): void {
  const unit = load<f32>(foundUnits);
  for (let g: i32 = 0; g < 16; g++) {
    const step = unit * level(foundLevels, g);
    if (step == 0) memory.fill(codes + (<usize>g << 4), 0, 16);
    else roundSymmetric(x, g, step, half);
  }
}

/** Codes of groups of n under scales and minima, and their levels as bytes; codes of 0 under step 0. */
function affineCodes(x: usize, n: i32, top: i32): void {
  const unit = load<f32>(affineUnits), minUnit = load<f32>(affineMinUnits);
  store<f32>(units, unit);
  store<f32>(units, minUnit, 4);
  for (let g: usize = 0, at: usize = 0; at < 256; g++, at += <usize>n) {
    const scale = level(affineLevels, g), minimum = level(affineMins, g);
    store<u8>(scaleCodes + g, <u8>scale);
    store<u8>(minCodes + g, <u8>minimum);
    const step = unit * scale;
    if (step == 0) memory.fill(codes + at, 0, n);
    else roundAffine(x, at, n, step, minUnit * minimum, top);
  }
}

export function search_q2_k(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  encode_q2_k(x, out, rows, cols, weights);
  everySuper(x, out, rows, cols, weights, 16, 84, (x: usize) => {
    searchAffineBlock(16, 3, 2.1, 0.2, 1.8, 0.2, 0.25, 15, 10, 0.225);
    affineCodes(x, 16, 3);
    v128.store(trial, v128.or(v128.load(scaleCodes), i16x8.shl(v128.load(minCodes), 4)));
    packCrumbs(trial + 16);
    store<u16>(trial, toHalf(load<f32>(units)), 80);
    store<u16>(trial, toHalf(load<f32>(units, 4)), 82);
  }, decode_q2_k);
}

export function search_q4_k(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  encode_q4_k(x, out, rows, cols, weights);
  everySuper(x, out, rows, cols, weights, 32, 144, (x: usize) => {
    searchAffineBlock(32, 15, 13.2, 0.3, 12.8, 0.4, 0.5, 63, 48, 0.6);
    affineCodes(x, 32, 15);
    packLevels32(trial, 255);
    packNibbles32(trial + 16);
  }, decode_q4_k);
}

export function search_q5_k(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  encode_q5_k(x, out, rows, cols, weights);
  everySuper(x, out, rows, cols, weights, 32, 176, (x: usize) => {
    searchAffineBlock(32, 31, 29.2, 0.3, 28.8, 0.4, 0.5, 63, 48, 0.6);
    affineCodes(x, 32, 31);
    packLevels32(trial, 255);
    packFive32(trial + 16);
  }, decode_q5_k);
}

export function search_q3_k(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  encode_q3_k(x, out, rows, cols, weights);
  everySuper(x, out, rows, cols, weights, 16, 110, (x: usize) => {
    searchScaled(16, -4, 3, -2.6, -0.2, 10, true, -32, 31, -22, -0.45);
    scaledCodes(x, 4);
    for (let g: usize = 0; g < 16; g++) store<u8>(shifted + g, <u8>(level(foundLevels, g) + 32));
    packSearched(load<f32>(foundUnits), shifted, trial);
  }, decode_q3_k);
}

export function search_q6_k(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  encode_q6_k(x, out, rows, cols, weights);
  everySuper(x, out, rows, cols, weights, 16, 210, (x: usize) => {
    searchScaled(16, -32, 31, -25, -0.5, 18, false, -128, 127, -100, -1);
    scaledCodes(x, 32);
    packSix(trial);
    for (let g: usize = 0; g < 16; g++) store<i8>(trial + g, <i8>level(foundLevels, g), 192);
    store<u16>(trial, toHalf(load<f32>(foundUnits)), 208);
  }, decode_q6_k);
}

export function search_iq4_xs(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  encode_iq4_xs(x, out, rows, cols, weights);
  everySuper(x, out, rows, cols, weights, 32, 136, (x: usize) => {
    searchScaled(32, 0, 0, -85, -5.5, 10, true, -32, 31, -22, -0.45);
    const unit = load<f32>(foundUnits);
    let high: i32 = 0, low: i32 = 0;
    for (let g: i32 = 0; g < 8; g++) {
      const found = level(foundLevels, g), stored = <i32>found + 32;
      high |= (stored >> 4) << (2 * g);
      low |= (stored & 15) << (4 * g);
      storeCodes(x + <usize>g * BLOCK, unit * found, trial + 8 + <usize>(16 * g));
    }
    store<u16>(trial, toHalf(unit));
    store<u16>(trial, <u16>high, 2);
    store<u32>(trial, low, 4);
  }, decode_iq4_xs);
}
