/**
 * Q3_K: 110 bytes for 256 weights: high[32] (bit j of high[l] belongs to weight 32 j + l), codes[64], scales[12], f16 d.
 * x = d * (scale - 32) * (code - 4), sixteen groups of 16. Source: ggml, src/ggml-quants.c, quantize_row_q3_K_ref / _impl.
 */
import { nearestInt } from '../../numeric/rounding.ts';
import { blockReference, readHalf, writeHalf } from './blocks.ref.ts';
import {
  bentImportance,
  clamp,
  fitSymmetric,
  fitSymmetricByDescent,
  packCrumbs,
  roundToGrid,
  sum,
  sumOfSquares,
  superBlock,
  unpackCrumbs,
} from './k-common.ref.ts';

const f = Math.fround;
const groups = 16;
const codesAt = 32;
const scalesAt = 96;
const dAt = 108;

function encode(x: Float32Array, out: Uint8Array, importance?: Float32Array): void {
  const codes = new Uint8Array(superBlock);
  const scales = new Float32Array(groups);
  const weightSums = new Float32Array(groups);
  const sigma2 = f(f(2 * sumOfSquares(x)) / superBlock);
  for (let j = 0; j < groups; j++) {
    const [from, to] = [j * 16, (j + 1) * 16];
    const group = x.subarray(from, to);
    if (importance) {
      const weights = bentImportance(group, importance.subarray(from, to), sigma2);
      weightSums[j] = sum(weights);
      scales[j] = fitSymmetric(group, 4, codes.subarray(from, to), weights);
    } else {
      scales[j] = fitSymmetricByDescent(group, 4, codes.subarray(from, to));
    }
  }

  const level = importance ? levelByFit(scales, weightSums) : levelByLargest(scales);
  packScales(level.codes, out.subarray(scalesAt, scalesAt + 12));
  writeHalf(out, dAt, level.d);
  const d = readHalf(out, dAt);
  for (let j = 0; j < groups; j++) {
    const step = f(d * (level.codes[j] - 32));
    // A zero step keeps the codes of the search, as C's `continue` does.
    if (step === 0) continue;
    roundToGrid(x.subarray(j * 16, (j + 1) * 16), step, 0, { low: -4, high: 3 }, codes.subarray(j * 16, (j + 1) * 16));
  }

  packCodes(codes, out);
}

function packCodes(codes: Uint8Array, out: Uint8Array): void {
  for (let i = 0; i < superBlock; i++) out[i & 31] |= (codes[i] >> 2) << (i >> 5);
  packCrumbs(codes, out.subarray(codesAt, codesAt + 64));
}

/** levels: [16], shifted by 32; out: zeroed. */
export function packQ3_K(d: number, levels: Uint8Array, codes: Uint8Array, out: Uint8Array): void {
  packScales(levels, out.subarray(scalesAt, scalesAt + 12));
  writeHalf(out, dAt, d);
  packCodes(codes, out);
}

interface Level {
  d: number;
  codes: Uint8Array; // [16], shifted by 32
}

function levelByLargest(scales: Float32Array): Level {
  let largest = 0;
  for (const s of scales) if (Math.abs(s) > Math.abs(largest)) largest = s;
  if (largest === 0) return { d: 0, codes: new Uint8Array(groups) };
  const inverse = f(-32 / largest);
  return { d: f(1 / inverse), codes: Uint8Array.from(scales, (s) => clamp(nearestInt(f(inverse * s)), -32, 31) + 32) };
}

function levelByFit(scales: Float32Array, weights: Float32Array): Level {
  const codes = new Uint8Array(groups);
  return { d: fitSymmetric(scales, 32, codes, weights), codes };
}

/** Sixteen scales of 6 bits: low nibbles in 8 bytes (j and j + 8 share one), the upper two bits in 4 (j % 4 share one). */
function packScales(scales: Uint8Array, out: Uint8Array): void {
  for (let j = 0; j < groups; j++) {
    out[j & 7] |= (scales[j] & 15) << (4 * (j >> 3));
    out[8 + (j & 3)] |= (scales[j] >> 4) << (2 * (j >> 2));
  }
}

function unpackScale(packed: Uint8Array, j: number): number {
  return ((packed[j & 7] >> (4 * (j >> 3))) & 15) | (((packed[8 + (j & 3)] >> (2 * (j >> 2))) & 3) << 4);
}

function decode(block: Uint8Array, out: Float32Array): void {
  const d = readHalf(block, dAt);
  const codes = unpackCrumbs(block.subarray(codesAt, codesAt + 64));
  for (let i = 0; i < superBlock; i++) {
    const step = f(d * (unpackScale(block.subarray(scalesAt, scalesAt + 12), i >> 4) - 32));
    const high = (block[i & 31] >> (i >> 5)) & 1;
    out[i] = f(step * (codes[i] + 4 * high - 4));
  }
}

export const q3_k = blockReference('q3_k', { encode, decode });
