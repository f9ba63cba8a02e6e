/**
 * Q2_K: 84 bytes for 256 weights: scales[16] (scale in the low nibble, min in the high one), codes[64], f16 d, f16 dmin.
 * x = d * scale * code - dmin * min, sixteen groups of 16. Source: ggml, src/ggml-quants.c, quantize_row_q2_K_ref / _impl.
 */
import { nearestInt } from '../../numeric/rounding.ts';
import { blockReference, readHalf, writeHalf } from './blocks.ref.ts';
import {
  type AffineSearch,
  bentImportance,
  fitAffine,
  fitPositive,
  packCrumbs,
  roundToGrid,
  sum,
  sumOfSquares,
  superBlock,
  unpackCrumbs,
} from './k-common.ref.ts';

const f = Math.fround;
const groups = 16;
const codesAt = 16;
const dAt = 80;
const plain: AffineSearch = { max: 3, from: -0.5, step: 0.1, steps: 15, absolute: true };
const weighted: AffineSearch = { max: 3, from: -0.9, step: 0.05, steps: 36 };

function encode(x: Float32Array, out: Uint8Array, importance?: Float32Array): void {
  const codes = new Uint8Array(superBlock);
  const scales = new Float32Array(groups);
  const mins = new Float32Array(groups);
  const weightSums = new Float32Array(groups);
  const sigma2 = f(sumOfSquares(x) / superBlock);
  for (let j = 0; j < groups; j++) {
    const [from, to] = [j * 16, (j + 1) * 16];
    const group = x.subarray(from, to);
    const weights = importance ? bentImportance(group, importance.subarray(from, to), sigma2) : group.map(Math.abs);
    weightSums[j] = sum(weights);
    const fit = fitAffine(group, weights, codes.subarray(from, to), importance ? weighted : plain);
    scales[j] = fit.scale;
    mins[j] = fit.min;
  }

  const level = (values: Float32Array) => (importance ? levelByFit(values, weightSums) : levelByLargest(values));
  const [scale, min] = [level(scales), level(mins)];
  writeHalf(out, dAt, scale.d);
  writeHalf(out, dAt + 2, min.d);
  const d = readHalf(out, dAt);
  const dmin = readHalf(out, dAt + 2);
  for (let j = 0; j < groups; j++) {
    out[j] = scale.codes[j] | (min.codes[j] << 4);
    const step = f(d * (out[j] & 15));
    // A zero step keeps the codes of the search, as C's `continue` does.
    if (step === 0) continue;
    const offset = f(dmin * (out[j] >> 4));
    roundToGrid(x.subarray(j * 16, (j + 1) * 16), step, offset, { low: 0, high: 3 }, codes.subarray(j * 16, (j + 1) * 16));
  }
  packCrumbs(codes, out.subarray(codesAt, codesAt + 64));
}

/** levels, mins: [16]; out: zeroed. */
export function packQ2_K(
  { d, dmin, levels, mins }: { d: number; dmin: number; levels: Uint8Array; mins: Uint8Array },
  codes: Uint8Array,
  out: Uint8Array,
): void {
  for (let j = 0; j < groups; j++) out[j] = levels[j] | (mins[j] << 4);
  writeHalf(out, dAt, d);
  writeHalf(out, dAt + 2, dmin);
  packCrumbs(codes, out.subarray(codesAt, codesAt + 64));
}

interface Level {
  d: number;
  codes: Uint8Array; // [16]
}

function levelByLargest(values: Float32Array): Level {
  let largest = 0;
  for (const v of values) if (v > largest) largest = v;
  if (largest === 0) return { d: 0, codes: new Uint8Array(groups) };
  const inverse = f(15 / largest);
  return { d: f(largest / 15), codes: Uint8Array.from(values, (v) => nearestInt(f(inverse * v))) };
}

function levelByFit(values: Float32Array, weights: Float32Array): Level {
  const codes = new Uint8Array(groups);
  return { d: fitPositive(values, 15, codes, weights), codes };
}

function decode(block: Uint8Array, out: Float32Array): void {
  const d = readHalf(block, dAt);
  const dmin = readHalf(block, dAt + 2);
  const codes = unpackCrumbs(block.subarray(codesAt, codesAt + 64));
  for (let i = 0; i < superBlock; i++) {
    const levels = block[i >> 4];
    out[i] = f(f(f(d * (levels & 15)) * codes[i]) - f(dmin * (levels >> 4)));
  }
}

export const q2_k = blockReference('q2_k', { encode, decode });
