/** Scales and minima of blocks, out and in again. */
import { FormatError } from '../../../errors.ts';
import { decodeF16, encodeF16 } from '../../../numeric/f16.ts';
import { storage } from '../../../tensor/storage.ts';
import { blockCount } from './codes.ts';
import { type BlockLayout, type LevelType, layoutOf } from './layouts.ts';

/** One kind of level of a run of blocks. */
export interface LevelSet {
  /** [blocks], each an f16: d, or what is added for a minimum of 1 (-dmin; the minimum itself where there are no codes). */
  units: Float32Array;
  /** [blocks * groups], signed; absent where the unit is the level. */
  codes?: Int16Array;
  /** [blocks * groups]: f32(unit * code), what the decoder multiplies by or adds. */
  values: Float32Array;
}

export interface BlockLevels {
  scale: LevelSet;
  min?: LevelSet;
}

/** Groups of a block that have levels of their own. */
export function groupsOf(type: LevelType): number {
  return layoutOf(type).levels?.groups ?? 1;
}

/** Values that share a level. */
export function groupSize(type: LevelType): number {
  return storage[type].block / groupsOf(type);
}

/** Room for the levels of `blocks` blocks. */
export function emptyLevels(type: LevelType, blocks: number): BlockLevels {
  const { levels, min } = layoutOf(type);
  const one = (): LevelSet => {
    const units = new Float32Array(blocks);
    if (!levels) return { units, values: units };
    const count = blocks * levels.groups;
    return { units, codes: new Int16Array(count), values: new Float32Array(count) };
  };
  return min ? { scale: one(), min: one() } : { scale: one() };
}

/** @param bytes whole blocks */
export function readLevels(type: LevelType, bytes: Uint8Array): BlockLevels {
  const layout = layoutOf(type);
  const blocks = blockCount(type, bytes);
  const found = emptyLevels(type, blocks);
  const codes = new Uint8Array(32);
  for (let b = 0, at = 0; b < blocks; b++, at += storage[type].bytes) {
    found.scale.units[b] = readHalf(bytes, at + layout.d);
    if (found.min) found.min.units[b] = minSign(layout) * readHalf(bytes, at + layout.min!.at);
    if (!layout.levels) continue;
    const { groups, lowest, read } = layout.levels;
    read(bytes, at, codes);
    for (let g = 0; g < groups; g++) {
      found.scale.codes![b * groups + g] = codes[g] + lowest;
      if (found.min) found.min.codes![b * groups + g] = codes[groups + g];
    }
  }
  effective(found.scale);
  if (found.min) effective(found.min);
  return found;
}

/** Replaces the levels of blocks in place, by units and codes, and keeps the codes of the weights. */
export function writeLevels(type: LevelType, { scale, min }: BlockLevels, bytes: Uint8Array): void {
  const layout = layoutOf(type);
  const blocks = blockCount(type, bytes);
  if (scale.units.length !== blocks)
    throw new FormatError({ what: 'levels of another number of blocks', value: scale.units.length, limit: blocks });
  const codes = new Uint8Array(32);
  for (let b = 0, at = 0; b < blocks; b++, at += storage[type].bytes) {
    writeHalf(bytes, at + layout.d, scale.units[b]);
    if (min) writeHalf(bytes, at + layout.min!.at, minSign(layout) * min.units[b]);
    if (!layout.levels) continue;
    const { groups, lowest, write } = layout.levels;
    for (let g = 0; g < groups; g++) {
      codes[g] = scale.codes![b * groups + g] - lowest;
      if (min) codes[groups + g] = min.codes![b * groups + g];
    }
    write(codes, bytes, at);
  }
}

/** Fills the values from units and codes. */
export function effective({ units, codes, values }: LevelSet): void {
  if (!codes) return;
  const groups = codes.length / units.length;
  for (let i = 0; i < codes.length; i++) values[i] = codes[i] * units[Math.floor(i / groups)];
}

function minSign({ min }: BlockLayout): 1 | -1 {
  return min?.subtracted ? -1 : 1;
}

function readHalf(bytes: Uint8Array, at: number): number {
  return decodeF16(bytes[at] | (bytes[at + 1] << 8));
}

function writeHalf(bytes: Uint8Array, at: number, x: number): void {
  const half = encodeF16(x);
  bytes[at] = half & 255;
  bytes[at + 1] = half >> 8;
}
