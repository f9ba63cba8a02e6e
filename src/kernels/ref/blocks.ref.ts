/**
 * What all references share: the walk over rows and blocks, C's casts on x86-64, and nibbles.
 * Every product and sum of f32 goes through Math.fround, in the order of ggml-quants.c, because one bit decides a code.
 */
import { decodeF16, encodeF16 } from '../../numeric/f16.ts';
import { type StorageType, storage } from '../../tensor/storage.ts';
import type { BlockReference } from '../encoders.ts';
import { bentImportance, sumOfSquares } from './k-common.ref.ts';

const f = Math.fround;

interface BlockCodec {
  /** Turns a row and its importance into the weights that `encode` sees; without it `encode` sees the importance itself. */
  weigh?(row: Float32Array, importance: Float32Array): Float32Array;
  /** x: [block], out: [bytes], zeroed; weights: [block]. */
  encode(x: Float32Array, out: Uint8Array, weights?: Float32Array): void;
  /** bytes: [bytes], out: [block]. */
  decode(bytes: Uint8Array, out: Float32Array): void;
}

/** A reference for whole matrices from one for single blocks. */
export function blockReference(type: StorageType, codec: BlockCodec): BlockReference {
  const { block, bytes } = storage[type];
  return {
    encode(x, cols, importance) {
      const out = new Uint8Array((x.length / block) * bytes);
      for (let start = 0, to = 0; start < x.length; start += cols) {
        const row = x.subarray(start, start + cols);
        const weights = importance && (codec.weigh?.(row, importance) ?? importance);
        for (let j = 0; j < cols; j += block, to += bytes) {
          codec.encode(row.subarray(j, j + block), out.subarray(to, to + bytes), weights?.subarray(j, j + block));
        }
      }
      return out;
    },
    decode(encoded, n) {
      const out = new Float32Array(n);
      for (let i = 0, at = 0; i < n; i += block, at += bytes) {
        codec.decode(encoded.subarray(at, at + bytes), out.subarray(i, i + block));
      }
      return out;
    },
  };
}

/** The weights of Q4_0, Q4_1, Q5_0 and Q5_1 take the variance of the whole row: rows must not be cut before encoding. */
export function weighRow(row: Float32Array, importance: Float32Array): Float32Array {
  return bentImportance(row, importance, f(sumOfSquares(row) / row.length));
}

/** The C cast (int8_t)x as x86-64 does it: what does not fit in 32 bits becomes 0x80000000, whose low byte is 0. */
export function castInt8(x: number): number {
  const whole = Math.trunc(x);
  return whole >= -(2 ** 31) && whole < 2 ** 31 ? (whole << 24) >> 24 : 0;
}

/** Codes [32] of 4 bits to bytes [16]: code j in the low nibble of byte j, code j + 16 in the high one. */
export function packNibbles(codes: Uint8Array, out: Uint8Array): void {
  for (let j = 0; j < 16; j++) out[j] = (codes[j] & 15) | ((codes[j + 16] & 15) << 4);
}

export function unpackNibbles(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, j) => (j < 16 ? bytes[j] & 15 : bytes[j - 16] >> 4));
}

/** The fifth bits of codes [32] as 4 bytes, bit j of the little-endian word belonging to code j. */
export function packFifthBits(codes: Uint8Array, out: Uint8Array): void {
  for (let j = 0; j < 32; j++) out[j >> 3] |= (codes[j] >> 4) << (j & 7);
}

/** Codes [32] of 5 bits from 4 bytes of fifth bits and 16 bytes of nibbles. */
export function unpackFiveBits(fifth: Uint8Array, nibbles: Uint8Array): Uint8Array {
  return unpackNibbles(nibbles).map((code, j) => code | (((fifth[j >> 3] >> (j & 7)) & 1) << 4));
}

/** The f16 at byte `at` of a block, little-endian. */
export function readHalf(block: Uint8Array, at: number): number {
  return decodeF16(block[at] | (block[at + 1] << 8));
}

export function writeHalf(block: Uint8Array, at: number, x: number): void {
  const half = encodeF16(x);
  block[at] = half & 255;
  block[at + 1] = half >> 8;
}
