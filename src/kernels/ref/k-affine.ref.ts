/**
 * Q4_K and Q5_K up to packing: eight groups of 32, x = d * scale * code - dmin * min, scale and min of 6 bits under f16.
 * Source: ggml, src/ggml-quants.c, quantize_row_q4_K_ref / _impl and the same of q5_K, which differ in the constants below.
 */
import { nearestInt } from '../../numeric/rounding.ts';
import { readHalf, writeHalf } from './blocks.ref.ts';
import {
  type AffineSearch,
  bentImportance,
  fitAffine,
  fitPositive,
  roundToGrid,
  sum,
  sumOfSquares,
  superBlock,
} from './k-common.ref.ts';

const f = Math.fround;
const groups = 8;
const groupSize = 32;

export interface Affine32 {
  plain: AffineSearch;
  weighted: AffineSearch;
  /** The weighted path of Q5_K cuts codes at 63, that of Q4_K does not: it shows where a negative code has wrapped. */
  scaleLimit: 63 | 255;
}

/** Writes d, dmin and the 12 scale bytes to out[0..16]; returns the codes: [256], one a byte. */
export function encodeAffine32(
  x: Float32Array,
  out: Uint8Array,
  importance: Float32Array | undefined,
  type: Affine32,
): Uint8Array {
  const codes = new Uint8Array(superBlock);
  const scales = new Float32Array(groups);
  const mins = new Float32Array(groups);
  const weightSums = new Float32Array(groups);
  const sigma2 = f(f(2 * sumOfSquares(x)) / superBlock);
  for (let j = 0; j < groups; j++) {
    const [from, to] = [j * groupSize, (j + 1) * groupSize];
    const group = x.subarray(from, to);
    const weights = importance ? bentImportance(group, importance.subarray(from, to), sigma2) : weightsByMagnitude(group);
    weightSums[j] = sum(weights);
    const fit = fitAffine(group, weights, codes.subarray(from, to), importance ? type.weighted : type.plain);
    scales[j] = fit.scale;
    mins[j] = fit.min;
  }

  const levels = importance ? levelsByFit(scales, mins, weightSums, type.scaleLimit) : levelsByLargest(scales, mins);
  packLevels32(levels, out);

  const d = readHalf(out, 0);
  const dmin = readHalf(out, 2);
  for (let j = 0; j < groups; j++) {
    const [scale, min] = unpackScale(out.subarray(4, 16), j);
    const step = f(d * scale);
    // A zero step keeps the codes of the search, as C's `continue` does.
    if (step === 0) continue;
    const group = codes.subarray(j * groupSize, (j + 1) * groupSize);
    roundToGrid(x.subarray(j * groupSize, (j + 1) * groupSize), step, f(dmin * min), { low: 0, high: type.plain.max }, group);
  }
  return codes;
}

/** Root mean square plus magnitude. */
function weightsByMagnitude(group: Float32Array): Float32Array {
  const rms = f(Math.sqrt(f(sumOfSquares(group) / groupSize)));
  return group.map((v) => f(rms + Math.abs(v)));
}

/** d, dmin and 12 bytes of levels. */
export function packLevels32({ d, dmin, scaleCodes, minCodes }: ScaleLevels, out: Uint8Array): void {
  writeHalf(out, 0, d);
  writeHalf(out, 2, dmin);
  packScales(scaleCodes, minCodes, out.subarray(4, 16));
}

export interface ScaleLevels {
  d: number;
  dmin: number;
  scaleCodes: Uint8Array;
  minCodes: Uint8Array;
}

function levelsByLargest(scales: Float32Array, mins: Float32Array): ScaleLevels {
  const level = (values: Float32Array) => {
    let largest = 0;
    for (const v of values) if (v > largest) largest = v;
    const inverse = largest > 0 ? f(63 / largest) : 0;
    const codes = Uint8Array.from(values, (v) => Math.min(63, nearestInt(f(inverse * v)) & 255));
    return { d: f(largest / 63), codes };
  };
  const [scale, min] = [level(scales), level(mins)];
  return { d: scale.d, dmin: min.d, scaleCodes: scale.codes, minCodes: min.codes };
}

function levelsByFit(scales: Float32Array, mins: Float32Array, weights: Float32Array, limit: number): ScaleLevels {
  const scaleCodes = new Uint8Array(groups);
  const minCodes = new Uint8Array(groups);
  const d = fitPositive(scales, 63, scaleCodes, weights);
  const dmin = fitPositive(mins, 63, minCodes, weights);
  const cut = (c: number) => Math.min(limit, c);
  return { d, dmin, scaleCodes: scaleCodes.map(cut), minCodes: minCodes.map(cut) };
}

/** Eight scales and eight minima of 6 bits in 12 bytes: the upper two bits of the last four live in the first eight bytes. */
function packScales(scales: Uint8Array, mins: Uint8Array, out: Uint8Array): void {
  for (let j = 0; j < 4; j++) {
    out[j] = scales[j] | ((scales[j + 4] >> 4) << 6);
    out[j + 4] = mins[j] | ((mins[j + 4] >> 4) << 6);
    out[j + 8] = (scales[j + 4] & 15) | ((mins[j + 4] & 15) << 4);
  }
}

/** [scale, min] of group j (get_scale_min_k4). */
function unpackScale(packed: Uint8Array, j: number): [scale: number, min: number] {
  if (j < 4) return [packed[j] & 63, packed[j + 4] & 63];
  return [(packed[j + 4] & 15) | ((packed[j - 4] >> 6) << 4), (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4)];
}

/** out[i] = d * scale * code - dmin * min. */
export function decodeAffine32(block: Uint8Array, codes: Uint8Array, out: Float32Array): void {
  const d = readHalf(block, 0);
  const dmin = readHalf(block, 2);
  for (let i = 0; i < superBlock; i++) {
    const [scale, min] = unpackScale(block.subarray(4, 16), i >> 5);
    out[i] = f(f(f(d * scale) * codes[i]) - f(dmin * min));
  }
}
