/** Levels that are themselves codes under a coarser level. `Levels.values` holds the products; here they are made and checked. */
import { RecipeError } from '../../errors.ts';
import type { Levels, QuantizedTile, Sharing } from '../../quantized/types.ts';
import { sharedCount, type TileRows } from '../granularity.ts';
import { dynamicMap } from './dynamic-map.ts';
import { type NearestTable, tableOfValues } from './nearest.ts';
import { absmaxOf, encodeRun } from './runs.ts';

/**
 * The effective values of levels from their codes: (map ? map[code] : code) * parent + offset, the product and the sum each
 * rounded to f32. Levels without codes are their own values.
 */
export function nestedValues(levels: Levels, tile: TileRows): Float32Array {
  const { codes, map, offset = 0, parent, per } = levels;
  if (!codes) return levels.values;
  const above = parent && { values: nestedValues(parent, tile), at: placesIn(per, parent.per, tile) };
  return Float32Array.from(codes, (code, i) => {
    const own = map ? map[code]! : code;
    return Math.fround(own * (above ? above.values[above.at(i)]! : 1)) + offset;
  });
}

/** For level i of `per`: the level of `parent` that covers its first cell. */
function placesIn(per: Sharing, parent: Sharing, tile: TileRows): (level: number) => number {
  const { from, cols } = tile;
  const whole = 'rows' in parent && parent.rows === 0 && parent.cols === 0;
  if (whole) return () => 0;
  if ('groupOf' in per || 'groupOf' in parent) {
    const groups = 'groupOf' in per ? sharedCount(per, { ...tile, to: from + 1 }) : 0;
    if (groups && 'rows' in parent && parent.rows === 1 && parent.cols === 0) return (level) => Math.floor(level / groups);
    throw new RecipeError({ what: 'groups in activation order nest under rows or the tensor only' });
  }
  const first = (level: number): number => {
    if ('flat' in per) return Math.max((Math.floor((from * cols) / per.flat) + level) * per.flat, from * cols);
    const across = per.cols === 0 ? 1 : Math.ceil(cols / per.cols);
    const down = Math.floor(level / across);
    const row = per.rows === 0 ? from : Math.max((Math.floor(from / per.rows) + down) * per.rows, from);
    return row * cols + (level % across) * per.cols;
  };
  if ('flat' in parent) {
    const base = Math.floor((from * cols) / parent.flat);
    return (level) => Math.floor(first(level) / parent.flat) - base;
  }
  const { rows: high, cols: wide } = parent;
  const across = wide === 0 ? 1 : Math.ceil(cols / wide);
  return (level) => {
    const cell = first(level);
    const row = Math.floor(cell / cols);
    const down = high === 0 ? 0 : Math.floor(row / high) - Math.floor(from / high);
    return down * across + (wide === 0 ? 0 : Math.floor((cell % cols) / wide));
  };
}

export interface DoubleOptions {
  /** Scales that share a scale (256). */
  block?: number;
  /** Subtracted from the scales before they are quantized: their mean (default), or a given one (0: none). */
  offset?: 'mean' | number;
}

/**
 * Double quantization (QLoRA, arXiv 2305.14314, section 3): the f32 scales of a tile, minus their mean, become 8-bit codes of the
 * dynamic map in blocks of 256 under f32. Codes of the weights stay as they are, so they belong to the scales before. Equal to
 * bitsandbytes 0.50.2 (default backend) but for the last bit of the mean, whose sum is made in f64 here.
 * The tile is the whole matrix, or `offset` is given and its levels fill whole blocks.
 * @throws RecipeError for scales that are not consecutive runs of values
 */
export function doubleQuantize(tile: QuantizedTile, { block = 256, offset = 'mean' }: DoubleOptions = {}): QuantizedTile {
  const { scale, name, shape, from, to } = tile;
  if (!scale) throw new RecipeError({ what: 'encoded blocks have no scales to quantize again', where: name });
  const run = consecutive(scale.per, shape[1], name);
  const isWhole = from === 0 && to === shape[0];
  if (!isWhole && (offset === 'mean' || (from * shape[1]) % (run * block) !== 0)) {
    throw new RecipeError({
      what: 'double quantization looks at all scales of a tensor',
      where: name,
      next: 'take the whole matrix as one tile, or give the offset and begin tiles where blocks of scales do',
    });
  }
  const mean = offset === 'mean' ? Math.fround(sum(scale.values) / Math.max(scale.values.length, 1)) : Math.fround(offset);
  const { codes, parents, map } = dynamicCodes(
    scale.values.map((value) => value - mean),
    block,
  );
  const levels: Levels = {
    values: scale.values,
    stored: { bits: 8 },
    per: scale.per,
    codes,
    map,
    offset: mean,
    parent: { values: parents, stored: 'f32', per: { flat: run * block } },
  };
  return { ...tile, scale: { ...levels, values: nestedValues(levels, { from, to, cols: shape[1] }) } };
}

/** 8-bit blockwise quantization of bitsandbytes (default backend): codes of the dynamic map and an absmax a block. x: [n]. */
export function dynamicCodes(x: Float32Array, block: number): { codes: Int16Array; parents: Float32Array; map: Float32Array } {
  const map = dynamicMap();
  const table: NearestTable = tableOfValues(map, { ties: 'lowerValue' });
  const codes = new Int16Array(x.length);
  const parents = new Float32Array(Math.ceil(x.length / block));
  for (let i = 0, start = 0; start < x.length; i++, start += block) {
    const end = Math.min(start + block, x.length);
    const scale = absmaxOf(x, start, end);
    parents[i] = scale;
    encodeRun(table, x, start, end, scale, { compute: 'f32', divide: 'reciprocal' }, codes);
  }
  return { codes, parents, map };
}

/** Values of the flattened matrix that share a level, where levels follow one another. */
function consecutive(per: Sharing, cols: number, name: string): number {
  if ('flat' in per) return per.flat;
  if ('rows' in per && per.rows === 1 && per.cols === 0) return cols;
  if ('rows' in per && per.rows === 1 && cols % per.cols === 0) return per.cols;
  throw new RecipeError({
    what: 'only scales of runs, rows or groups of a row can be quantized again',
    where: name,
    next: 'choose granularity channel, a group or a flat run',
  });
}

function sum(values: Float32Array): number {
  return values.reduce((total, value) => total + value, 0);
}
