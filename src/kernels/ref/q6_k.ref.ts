/**
 * Q6_K: 210 bytes for 256 weights: low[128], high[64], int8 scales[16], f16 d. x = d * scale * (code - 32), sixteen groups of 16.
 * Source: ggml, src/ggml-quants.c, quantize_row_q6_K_ref / _impl; the importance matrix row is the weight as it stands.
 */
import { nearestInt } from '../../numeric/rounding.ts';
import { blockReference, readHalf, writeHalf } from './blocks.ref.ts';
import { fitSymmetric, roundToGrid, superBlock, zeroBelow } from './k-common.ref.ts';

const f = Math.fround;
const groups = 16;
const scalesAt = 192;
const dAt = 208;

function encode(x: Float32Array, out: Uint8Array, importance?: Float32Array): void {
  const codes = new Uint8Array(superBlock);
  const scales = new Float32Array(groups);
  let largest = 0;
  for (let j = 0; j < groups; j++) {
    const [from, to] = [j * 16, (j + 1) * 16];
    scales[j] = fitSymmetric(x.subarray(from, to), 32, codes.subarray(from, to), importance?.subarray(from, to));
    if (Math.abs(scales[j]) > Math.abs(largest)) largest = scales[j];
  }
  if (Math.abs(largest) < zeroBelow) {
    return;
  }

  const inverse = f(-128 / largest);
  writeHalf(out, dAt, f(1 / inverse));
  const d = readHalf(out, dAt);
  const stored = int8(out);
  for (let j = 0; j < groups; j++) {
    stored[j] = Math.min(127, nearestInt(f(inverse * scales[j])));
    const step = f(d * stored[j]);
    // A zero step keeps the codes of the search, as C's `continue` does.
    if (step === 0) continue;
    roundToGrid(x.subarray(j * 16, (j + 1) * 16), step, 0, { low: -32, high: 31 }, codes.subarray(j * 16, (j + 1) * 16));
  }

  packCodes(codes, out);
}

function packCodes(codes: Uint8Array, out: Uint8Array): void {
  for (let i = 0; i < superBlock; i++) {
    const { low, lowShift, high, highShift } = place(i);
    out[low] |= (codes[i] & 15) << lowShift;
    out[high] |= (codes[i] >> 4) << highShift;
  }
}

/** levels: [16]; out: zeroed. */
export function packQ6_K(d: number, levels: Int8Array, codes: Uint8Array, out: Uint8Array): void {
  int8(out).set(levels);
  writeHalf(out, dAt, d);
  packCodes(codes, out);
}

function decode(block: Uint8Array, out: Float32Array): void {
  const d = readHalf(block, dAt);
  const scales = int8(block);
  for (let i = 0; i < superBlock; i++) {
    const { low, lowShift, high, highShift } = place(i);
    const code = ((block[low] >> lowShift) & 15) | (((block[high] >> highShift) & 3) << 4);
    out[i] = f(f(d * scales[i >> 4]) * (code - 32));
  }
}

/** The group scales in their place in the block: [16]. */
function int8(block: Uint8Array): Int8Array {
  return new Int8Array(block.buffer, block.byteOffset + scalesAt, groups);
}

/** Of each 128 weights the first 64 are low nibbles of 64 bytes, the others high nibbles; quarter q has bits 2q of 32 bytes. */
function place(i: number): { low: number; lowShift: number; high: number; highShift: number } {
  const [half, within] = [i >> 7, i & 127];
  return {
    low: half * 64 + (within & 63),
    lowShift: (within >> 6) * 4,
    high: 128 + half * 32 + (within & 31),
    highShift: (within >> 5) * 2,
  };
}

export const q6_k = blockReference('q6_k', { encode, decode });
