// The search for the types whose blocks are 32 values: four blocks of a row at once. See ref/search/searched.ref.ts.
import { BLOCK, blockAt, gather, joinNibbles, storeFiveBits } from './blocks';
import { toHalf } from './half';
import { storeCodes } from './iq4';
import { decode_iq4_nl, encode_iq4_nl } from './iq4_nl';
import { codes, laneW, laneX, roundAffine } from './k_common';
import { roundSymmetric } from './k_symmetric';
import { decode_q4_0, encode_q4_0 } from './q4_0';
import { decode_q4_1, encode_q4_1 } from './q4_1';
import { decode_q5_0, encode_q5_0 } from './q5_0';
import { decode_q5_1, encode_q5_1 } from './q5_1';
import { decode_q8_0, encode_q8_0 } from './q8_0';
import { affineMinUnits, affineUnits, searchPairs } from './search_affine_block';
import { keepBetter, ones, trial } from './search_keep';
import { foundUnits, searchScales } from './search_scaled';

type Decode = (blocks: usize, out: usize, n: i32) => void;
/** Searches the quad in laneX and laneW. */
type Search = () => void;
/** Writes the trial of the block at x that is in lane `at` / 4 of the quad. */
type Pack = (x: usize, at: usize) => void;

function everyBlock(
  x: usize, out: usize, rows: i32, cols: i32, weights: usize, bytes: usize, search: Search, pack: Pack, decode: Decode,
): void {
  const all = <usize>rows * <usize>cols;
  const row = weights ? <usize>cols : all;
  for (const end = x + (all << 2); x < end; x += row << 2) {
    const last = (row >> 5) - 1;
    for (let i: usize = 0; i <= last; i += 4) {
      toQuad(x, i, last, laneX);
      if (weights) toQuad(weights, i, last, laneW);
      else memory.copy(laneW, ones, 512);
      search();
      const lanes = min(4, last + 1 - i);
      for (let lane: usize = 0; lane < lanes; lane++, out += bytes) {
        const from = x + (i + lane) * BLOCK;
        pack(from, lane << 2);
        keepBetter(from, weights ? weights + (i + lane) * BLOCK : ones, out, 32, bytes, decode);
      }
    }
  }
}

@inline
function toQuad(row: usize, i: usize, last: usize, to: usize): void {
  gather(
    blockAt(row, i, 0, last, BLOCK), blockAt(row, i, 1, last, BLOCK),
    blockAt(row, i, 2, last, BLOCK), blockAt(row, i, 3, last, BLOCK), to,
  );
}

/** The codes of 32 values under a scale, counted from the lowest; 0 under scale 0. */
@inline
function scaledCodes(x: usize, scale: f32, half: i32): void {
  if (scale == 0) {
    memory.fill(codes, 0, 32);
    return;
  }
  roundSymmetric(x, 0, scale, half);
  roundSymmetric(x, 1, scale, half);
}

export function search_q4_0(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  encode_q4_0(x, out, rows, cols, weights);
  everyBlock(x, out, rows, cols, weights, 18, () => {
    searchScales(-8, 7, -6.2, -0.175, 16, false);
  }, (x: usize, at: usize) => {
    const scale = load<f32>(foundUnits + at);
    scaledCodes(x, scale, 8);
    store<u16>(trial, toHalf(scale));
    v128.store(trial + 2, joinNibbles(v128.load(codes), v128.load(codes, 16)));
  }, decode_q4_0);
}

export function search_q5_0(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  encode_q5_0(x, out, rows, cols, weights);
  everyBlock(x, out, rows, cols, weights, 22, () => {
    searchScales(-16, 15, -13, -0.25, 16, false);
  }, (x: usize, at: usize) => {
    const scale = load<f32>(foundUnits + at);
    scaledCodes(x, scale, 16);
    store<u16>(trial, toHalf(scale));
    storeFiveBits(trial + 2, v128.load(codes), v128.load(codes, 16));
  }, decode_q5_0);
}

export function search_q8_0(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  encode_q8_0(x, out, rows, cols, weights);
  everyBlock(x, out, rows, cols, weights, 34, () => {
    searchScales(-127, 127, -119, -0.5, 20, false);
  }, (x: usize, at: usize) => {
    const scale = load<f32>(foundUnits + at);
    store<u16>(trial, toHalf(scale));
    if (scale == 0) {
      memory.fill(codes, 1, 32);
    } else {
      roundSymmetric(x, 0, scale, 128);
      roundSymmetric(x, 1, scale, 128);
    }
    // Counted from -128, of which there is none.
    for (let i: usize = 0; i < 32; i += 16) {
      const counted = i8x16.max_u(v128.load(codes + i), i8x16.splat(1));
      v128.store(trial + 2 + i, v128.xor(counted, i8x16.splat(-128)));
    }
  }, decode_q8_0);
}

export function search_iq4_nl(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  encode_iq4_nl(x, out, rows, cols, weights);
  everyBlock(x, out, rows, cols, weights, 18, () => {
    searchScales(0, 0, -85, -5.5, 10, true);
  }, (x: usize, at: usize) => {
    const scale = load<f32>(foundUnits + at);
    store<u16>(trial, toHalf(scale));
    storeCodes(x, scale, trial + 2);
  }, decode_iq4_nl);
}

/** Scale, minimum and codes of 32 values; codes of 0 under scale 0. */
@inline
function storePair(x: usize, at: usize, top: i32): void {
  const scale = load<f32>(affineUnits + at), minimum = load<f32>(affineMinUnits + at);
  store<u16>(trial, toHalf(scale));
  store<u16>(trial, toHalf(minimum), 2);
  if (scale == 0) memory.fill(codes, 0, 32);
  else roundAffine(x, 0, 32, scale, -minimum, top);
}

export function search_q4_1(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  encode_q4_1(x, out, rows, cols, weights);
  everyBlock(x, out, rows, cols, weights, 20, () => {
    searchPairs(15, 13.2, 0.3, 12.8, 0.4, 0.5);
  }, (x: usize, at: usize) => {
    storePair(x, at, 15);
    v128.store(trial + 4, joinNibbles(v128.load(codes), v128.load(codes, 16)));
  }, decode_q4_1);
}

export function search_q5_1(x: usize, out: usize, rows: i32, cols: i32, weights: usize): void {
  encode_q5_1(x, out, rows, cols, weights);
  everyBlock(x, out, rows, cols, weights, 24, () => {
    searchPairs(31, 29.2, 0.3, 28.8, 0.4, 0.5);
  }, (x: usize, at: usize) => {
    storePair(x, at, 31);
    storeFiveBits(trial + 4, v128.load(codes), v128.load(codes, 16));
  }, decode_q5_1);
}
