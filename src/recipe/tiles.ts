/** The row ranges in which tensors are worked: they depend on the plan alone, so that sums over tiles do not depend on threads. */
import type { PlacedTensor } from '../format/types.ts';
import { schemeSurveys } from '../quantize/kinds/encode.ts';
import { isWeightScheme } from '../quantize/scheme.ts';
import { storageBytes, storageKind } from '../tensor/storage.ts';

/** Bytes of source that one tile reads: large enough for the disk, small enough that many workers stay within bounds. */
const TILE_BYTES = 4 * 2 ** 20;
/** Grids are encoded in JavaScript, with several arrays of a tile's values alive at once. */
const GRID_TILE_BYTES = 2 ** 19;

/** Feedback reads the factor once a tile: the more rows, the better; but each matrix gives work to several threads. */
const SOLVED_TILE_BYTES = 4 * 2 ** 20;
const SOLVED_TILES = 8;

/** Whether the codes of a tensor are chosen with feedback. */
export function isSolved({ scheme }: Pick<PlacedTensor, 'scheme'>): boolean {
  return scheme.kind !== 'keep' && scheme.rounding !== undefined;
}

/** Rows of more values than this are cut where nothing depends on the row: a vector of a gigabyte has only one. */
const LONG_ROW = 2 ** 20;

/** Float tensors with long rows, seen as one column of values, so that tiles of them are small. */
export function cutLongRows(tensor: PlacedTensor): PlacedTensor {
  const { from, scheme, fields } = tensor;
  if (from.form !== 'storage' || scheme.kind !== 'storage' || from.order || from.cols <= LONG_ROW) return tensor;
  if (storageKind(from.type) === 'block' || storageKind(scheme.type) === 'block') return tensor;
  const data = { ...from.data, rowBytes: storageBytes(from.type, 1) };
  return {
    ...tensor,
    from: { ...from, rows: from.rows * from.cols, cols: 1, data },
    fields: { data: { ...fields['data']!, rowBytes: storageBytes(scheme.type, 1) } },
  };
}

/** The row ranges in which a tensor is worked. They depend on the plan alone, so that sums over tiles do not depend on threads. */
export function tilesOf(tensor: PlacedTensor): (readonly [from: number, to: number])[] {
  const { rows } = tensor.from;
  const rowBytes = Math.max(sourceRowBytes(tensor), tensor.bytes / Math.max(1, rows));
  const solved = isSolved(tensor);
  const tileBytes = solved ? SOLVED_TILE_BYTES : isWeightScheme(tensor.scheme) ? GRID_TILE_BYTES : TILE_BYTES;
  const fitting = Math.max(1, Math.floor(tileBytes / Math.max(1, rowBytes)));
  const wanted = solved ? Math.max(1, Math.min(fitting, Math.ceil(rows / SOLVED_TILES))) : fitting;
  const step = Math.max(tensor.rowMultiple, Math.floor(wanted / tensor.rowMultiple) * tensor.rowMultiple);
  const tiles: (readonly [number, number])[] = [];
  for (let from = 0; from < rows; from += step) tiles.push([from, Math.min(rows, from + step)]);
  return tiles;
}

/**
 * The row ranges that are surveyed. Smallest and largest values can be merged over tiles; a percentile, a search, balanced columns or
 * a low rank need all values at once (`resolveSchemes` refuses tensors that are too large for it).
 */
export function surveyTilesOf(tensor: PlacedTensor): (readonly [from: number, to: number])[] {
  const { scheme, from } = tensor;
  return isWeightScheme(scheme) && schemeSurveys(scheme) === 'matrix' ? [[0, from.rows]] : tilesOf(tensor);
}

export function sourceRowBytes({ from }: PlacedTensor): number {
  switch (from.form) {
    case 'storage':
      return from.data.rowBytes;
    case 'values':
      return from.cols * 4;
    case 'tile':
      return from.cols * 4;
  }
}
