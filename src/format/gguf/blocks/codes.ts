/** The codes of blocks, one a byte, out and in again. */
import { FormatError } from '../../../errors.ts';
import { storage } from '../../../tensor/storage.ts';
import { type LevelType, layoutOf } from './layouts.ts';
import { readPlanes, writePlanes } from './planes.ts';

/** @throws FormatError where the bytes are not whole blocks */
export function blockCount(type: LevelType, bytes: Uint8Array): number {
  const count = bytes.length / storage[type].bytes;
  if (!Number.isInteger(count)) {
    throw new FormatError({ what: `the bytes are not whole ${type} blocks`, value: bytes.length, limit: storage[type].bytes });
  }
  return count;
}

/**
 * Unsigned codes of the type's grid: for a signed grid 0 is its lowest value.
 * @param bytes whole blocks
 * @returns out: [values of the blocks]
 */
export function readCodes(type: LevelType, bytes: Uint8Array, out?: Uint8Array): Uint8Array {
  const { codes: planes, signedBytes } = layoutOf(type);
  const { block, bytes: size } = storage[type];
  const codes = out ?? new Uint8Array(blockCount(type, bytes) * block);
  for (let at = 0, to = 0; at < bytes.length; at += size, to += block) readPlanes(planes, bytes, at, codes, to, block);
  if (signedBytes) for (let i = 0; i < codes.length; i++) codes[i] ^= 128;
  return codes;
}

/**
 * Replaces the codes of blocks in place and keeps their levels.
 * @param codes [values of the blocks], as `readCodes` gives them; bits above the grid's are cut
 */
export function writeCodes(type: LevelType, codes: Uint8Array, bytes: Uint8Array): void {
  const { codes: planes, signedBytes } = layoutOf(type);
  const { block, bytes: size } = storage[type];
  const values = blockCount(type, bytes) * block;
  if (codes.length !== values)
    throw new FormatError({ what: 'the codes do not fill the blocks', value: codes.length, limit: values });
  const stored = signedBytes ? codes.map((code) => code ^ 128) : codes;
  for (let at = 0, from = 0; at < bytes.length; at += size, from += block) writePlanes(planes, stored, from, block, bytes, at);
}

/** The same blocks with other codes. */
export function withCodes(type: LevelType, bytes: Uint8Array, codes: Uint8Array): Uint8Array {
  const out = bytes.slice();
  writeCodes(type, codes, out);
  return out;
}
