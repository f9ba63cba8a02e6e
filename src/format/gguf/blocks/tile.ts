/** Blocks as a tile of codes under nested levels, and back. */
import { FormatError, RecipeError } from '../../../errors.ts';
import type { TilePlace } from '../../../quantize/index.ts';
import type { Levels, QuantizedTile } from '../../../quantized/types.ts';
import { storage, storageBytes } from '../../../tensor/storage.ts';
import { readCodes, writeCodes } from './codes.ts';
import { type LevelType, layoutOf } from './layouts.ts';
import { groupSize, type LevelSet, readLevels, writeLevels } from './levels.ts';

/**
 * What blocks stand for: `dequantizeTile` gives the values that the type's decoder gives, bit for bit.
 * @param bytes the blocks of rows [place.from, place.to)
 * @throws FormatError when the bytes are not those of the rows
 */
export function tileFromBlocks(type: LevelType, bytes: Uint8Array, { name, shape, from, to }: TilePlace): QuantizedTile {
  const { grid, levels } = layoutOf(type);
  const { block } = storage[type];
  const expected = (to - from) * storageBytes(type, shape[1]);
  if (shape[1] % block || bytes.length !== expected)
    throw new FormatError({ what: `the bytes are not rows of ${type}`, where: name, value: bytes.length, limit: expected });
  const { scale, min } = readLevels(type, bytes);
  const nested = ({ units, codes, values }: LevelSet): Levels => {
    const unit: Levels = { values: units, stored: 'f16', per: { rows: 1, cols: block } };
    if (!levels || !codes) return unit;
    return { values, stored: { bits: levels.bits }, per: { rows: 1, cols: groupSize(type) }, codes, parent: unit };
  };
  return {
    name,
    shape,
    from,
    to,
    grid,
    codes: readCodes(type, bytes),
    scale: nested(scale),
    ...(min ? { zero: { kind: 'minimum', levels: nested(min) } as const } : {}),
  };
}

/**
 * The blocks of a tile that `tileFromBlocks` made, perhaps with other codes or levels. Levels are taken from units and codes,
 * not from effective values. NaN scales lose their payload; everything else comes back bit for bit.
 * @throws RecipeError when the tile is not of the type's form
 */
export function blocksFromTile(type: LevelType, tile: QuantizedTile): Uint8Array {
  const { shape, from, to, scale, zero, codes } = tile;
  const { block } = storage[type];
  if (!scale || shape[1] % block || !(codes instanceof Uint8Array)) throw mismatch(type, tile);
  const bytes = new Uint8Array((to - from) * storageBytes(type, shape[1]));
  const blocks = ((to - from) * shape[1]) / block;
  const { levels, min } = layoutOf(type);
  const flat = ({ values, codes, parent }: Levels): LevelSet => {
    const set = levels ? parent && codes && { units: parent.values, codes, values } : { units: values, values };
    if (set?.units.length !== blocks || values.length !== blocks * (levels?.groups ?? 1)) throw mismatch(type, tile);
    return set;
  };
  if (Boolean(min) !== (zero?.kind === 'minimum')) throw mismatch(type, tile);
  writeLevels(type, { scale: flat(scale), ...(zero ? { min: flat(zero.levels) } : {}) }, bytes);
  writeCodes(type, codes, bytes);
  return bytes;
}

function mismatch(type: LevelType, { name }: QuantizedTile): RecipeError {
  return new RecipeError({ what: `the tile has not the form of ${type} blocks`, where: name });
}
