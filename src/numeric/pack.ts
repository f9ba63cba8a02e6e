/**
 * Packing of codes (one a cell) into bits, and back. Three layouts serve the containers:
 * dense      code after code, least significant bit first, across byte and word borders
 * planar     the codes of a block that are `block * bits / 8` apart share a byte: ggml's low nibbles first, high nibbles second
 * bit plane  bit p of every code, eight codes a byte, plane after plane
 */
import { LimitError, RecipeError } from '../errors.ts';

export type Codes = Uint8Array | Uint16Array;

export interface DenseOptions {
  /** Bytes a row of codes takes; the rest is zero. Default: as few as hold the codes. */
  bytes?: number;
  /**
   * Field i of each run of order.length fields holds code order[i] of that run: [1, 0] puts the first of two nibbles high
   * (bitsandbytes), [0, 2, 4, 6, 1, 3, 5, 7] is AWQ's word. Positions past the last code hold 0.
   */
  order?: readonly number[];
}

/** Bytes that n codes of `bits` bits take when dense. */
export function denseBytes(n: number, bits: number): number {
  return Math.ceil((n * bits) / 8);
}

/** codes: [n], each below 2^bits (higher bits are cut) -> bytes. */
export function packDense(codes: Codes, bits: number, options: DenseOptions = {}): Uint8Array {
  checkBits(bits);
  const fields = options.order ? permute(codes, options.order, 'pack') : codes;
  const bytes = options.bytes ?? denseBytes(fields.length, bits);
  checkRoom(fields.length, bits, bytes);
  const out = new Uint8Array(bytes);
  const mask = 2 ** bits - 1;
  let pending = 0;
  let held = 0;
  let at = 0;
  for (let i = 0; i < fields.length; i++) {
    pending |= (fields[i]! & mask) << held;
    held += bits;
    while (held >= 8) {
      out[at++] = pending;
      pending >>>= 8;
      held -= 8;
    }
  }
  if (held > 0) out[at] = pending;
  return out;
}

/** bytes -> codes [n]. */
export function unpackDense(bytes: Uint8Array, bits: number, n: number, options: Pick<DenseOptions, 'order'> = {}): Uint8Array {
  checkBits(bits);
  const run = options.order?.length ?? 1;
  const fields = Math.ceil(n / run) * run;
  checkRoom(fields, bits, bytes.length);
  const out = new Uint8Array(fields);
  const mask = 2 ** bits - 1;
  let pending = 0;
  let held = 0;
  let at = 0;
  for (let i = 0; i < fields; i++) {
    if (held < bits) {
      pending |= bytes[at++]! << held;
      held += 8;
    }
    out[i] = pending & mask;
    pending >>>= bits;
    held -= bits;
  }
  return options.order ? permute(out, options.order, 'unpack').subarray(0, n) : out;
}

/**
 * codes: [n], n a multiple of `block`; bits 1, 2, 4 or 8. With b = block * bits / 8 bytes a block, code j of a block lies in
 * its byte j mod b, at bit floor(j / b) * bits.
 */
export function packPlanar(codes: Codes, bits: number, block: number): Uint8Array {
  const stride = planarStride(codes.length, bits, block);
  const out = new Uint8Array((codes.length / block) * stride);
  const mask = 2 ** bits - 1;
  for (let start = 0, base = 0; start < codes.length; start += block, base += stride) {
    for (let j = 0, shift = 0; j < block; shift += bits) {
      for (let b = 0; b < stride; b++, j++) out[base + b]! |= (codes[start + j]! & mask) << shift;
    }
  }
  return out;
}

/** The inverse of `packPlanar`: bytes -> codes [n]. */
export function unpackPlanar(bytes: Uint8Array, bits: number, block: number, n: number): Uint8Array {
  const stride = planarStride(n, bits, block);
  checkRoom(n, bits, bytes.length);
  const out = new Uint8Array(n);
  const mask = 2 ** bits - 1;
  for (let start = 0, base = 0; start < n; start += block, base += stride) {
    for (let j = 0, shift = 0; j < block; shift += bits) {
      for (let b = 0; b < stride; b++, j++) out[start + j] = (bytes[base + b]! >>> shift) & mask;
    }
  }
  return out;
}

/** codes: [n] -> `bits` planes of ceil(n / 8) bytes; code j is at bit j mod 8 of byte floor(j / 8) of each plane. */
export function packBitPlanes(codes: Codes, bits: number): Uint8Array {
  checkBits(bits);
  const plane = Math.ceil(codes.length / 8);
  const out = new Uint8Array(bits * plane);
  for (let p = 0; p < bits; p++) {
    for (let j = 0; j < codes.length; j++) out[p * plane + (j >> 3)]! |= ((codes[j]! >>> p) & 1) << (j & 7);
  }
  return out;
}

/** The inverse of `packBitPlanes`: bytes -> codes [n]. */
export function unpackBitPlanes(bytes: Uint8Array, bits: number, n: number): Uint8Array {
  checkBits(bits);
  const plane = Math.ceil(n / 8);
  checkRoom(plane * 8, bits, bytes.length);
  const out = new Uint8Array(n);
  for (let p = 0; p < bits; p++) {
    for (let j = 0; j < n; j++) out[j]! |= ((bytes[p * plane + (j >> 3)]! >>> (j & 7)) & 1) << p;
  }
  return out;
}

function permute(codes: Codes, order: readonly number[], direction: 'pack' | 'unpack'): Uint8Array {
  const run = order.length;
  if ([...order].sort((a, b) => a - b).some((position, i) => position !== i)) {
    throw new RecipeError({ what: 'the order inside a word is not a permutation', value: order });
  }
  const out = new Uint8Array(Math.ceil(codes.length / run) * run);
  for (let start = 0; start < out.length; start += run) {
    for (let i = 0; i < run; i++) {
      const other = start + order[i]!;
      if (direction === 'pack') out[start + i] = other < codes.length ? codes[other]! : 0;
      else out[other] = codes[start + i]!;
    }
  }
  return out;
}

function planarStride(n: number, bits: number, block: number): number {
  if (![1, 2, 4, 8].includes(bits)) {
    throw new RecipeError({ what: 'planar packing needs a width that divides 8', value: bits, next: 'use 1, 2, 4 or 8 bits' });
  }
  const stride = (block * bits) / 8;
  if (!Number.isInteger(stride) || stride < 1 || n % block !== 0) {
    throw new RecipeError({ what: `${n} codes of ${bits} bits do not fill planar blocks`, value: block });
  }
  return stride;
}

function checkBits(bits: number): void {
  if (!Number.isInteger(bits) || bits < 1 || bits > 8) {
    throw new RecipeError({ what: 'codes of this width cannot be packed', value: bits, limit: '1..8 bits' });
  }
}

function checkRoom(n: number, bits: number, bytes: number): void {
  if (bytes < denseBytes(n, bits)) {
    throw new LimitError({ what: `${n} codes of ${bits} bits do not fit`, value: denseBytes(n, bits), limit: bytes });
  }
}
