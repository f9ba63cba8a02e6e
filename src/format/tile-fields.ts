/**
 * The plain field layout of a quantized tensor: codes, scales and zeros each in rows of their own, packed densely, low bits first.
 * A row never shares a byte with the next, so that any worker can write any rows.
 *
 *   codes  [rows, ceil(cols / dim * bits / 8)]
 *   scale, zero and their parents: level-fields.ts
 *   g_idx  i32 [cols], where columns are in activation order
 *   what is kept apart, and learned books: apart-fields.ts
 */
import { FormatError } from '../errors.ts';
import { denseBytes } from '../numeric/index.ts';
import { minifloat } from '../numeric/minifloat.ts';
import { bookLabel } from '../quantize/scheme.ts';
import type { GridForm, LevelForm, TileForm } from '../quantized/form.ts';
import type { Grid, QuantizedTile, Sharing } from '../quantized/types.ts';
import { type ApartType, apartFields, apartSizes, unpackApart } from './apart-fields.ts';
import { packRows, unpackRows } from './code-rows.ts';
import type { FieldSize } from './field-ranges.ts';
import { packGroupIndex, readGroupIndex } from './group-index.ts';
import { levelSizes, levelType, packLevels, unpackFloats, unpackLevels } from './level-fields.ts';
import type { Packing, TileRange } from './packings.ts';

/** The dtype of a field: packed codes are bytes. */
export function fieldType(form: TileForm, key: string): ApartType | 'u8' | 'f8_e4m3' | 'f8_e8m0' {
  if (key === 'codes') return 'u8';
  if (key === 'g_idx') return 'i32';
  const levels = { scale: form.scale, zero: form.zero, scale_parent: form.scale.parent, zero_parent: form.zero?.parent };
  const level = levels[key as keyof typeof levels];
  return level ? levelType(level) : apartFields(form, 0)[key]!.type;
}

/** Short name for tables: 'int4 g128 asym', 'nf4 g64', '3-bit book row'. */
export function tileLabel(form: TileForm): string {
  const { grid, scale, zero } = form;
  const per = scale.wholeTensor ? 'tensor' : scale.group ? `g${scale.group}` : 'channel';
  const parts = [
    grid.kind === 'integer' ? `int${grid.bits}` : gridName(grid),
    grid.kind === 'books' ? bookLabel(grid.per) : per,
    ...(grid.kind === 'integer' ? [zero ? 'asym' : 'sym'] : []),
    ...(form.columnScale ? ['column scales'] : []),
    ...(form.sparse ? [`+ ${form.sparse.perRow} a row`] : []),
    ...(form.columns ? [`+ ${form.columns.count} columns`] : []),
    ...(form.lowRank ? [`+ rank ${form.lowRank.rank}`] : []),
  ];
  return parts.join(' ');
}

function gridName(grid: Exclude<GridForm, { kind: 'integer' }>): string {
  if (grid.kind === 'minifloat') return grid.format;
  if (grid.kind === 'table') return grid.name ?? `${grid.values.length} values`;
  return `${grid.bits / grid.dim}-bit book${grid.dim > 1 ? ` of ${grid.dim}` : ''}`;
}

/** Bits of a code. */
export function gridBits({ grid }: Pick<TileForm, 'grid'>): number {
  if (grid.kind === 'table') return Math.max(1, Math.ceil(Math.log2(grid.values.length)));
  return grid.kind === 'minifloat' ? minifloat(grid.format).bits : grid.bits;
}

/** Columns that share a code. */
function gridDim({ grid }: TileForm): number {
  return grid.kind === 'books' ? grid.dim : 1;
}

/** The field of a form in activation order. */
export function orderSize(form: TileForm, cols: number): Record<string, FieldSize> {
  return form.order ? { g_idx: { rowBytes: 0, whole: cols * 4 } } : {};
}

/** Bytes a row of each field. */
export function fieldSizes(form: TileForm, cols: number): Record<string, FieldSize> {
  return {
    codes: { rowBytes: denseBytes(cols / gridDim(form), gridBits(form)) },
    ...levelSizes('scale', form.scale, cols),
    ...(form.zero && levelSizes('zero', form.zero, cols)),
    ...orderSize(form, cols),
    ...apartSizes(form, cols),
  };
}

export const dense: Packing = {
  rowMultiple: () => 1,
  sizes: (form, _rows, cols) => fieldSizes(form, cols),
  pack(tile, form) {
    const rows = tile.to - tile.from;
    const cols = tile.shape[1];
    return {
      codes: packRows(tile.codes, rows, cols / gridDim(form), gridBits(form)),
      ...packLevels('scale', tile.scale!, form.scale, rows, cols, 0),
      ...(form.zero && packLevels('zero', tile.zero!.levels, form.zero, rows, cols, lowest(tile.grid))),
      ...packOrder(tile, form),
      ...Object.fromEntries(Object.entries(apartFields(form, cols)).map(([key, field]) => [key, field.pack(tile)])),
    };
  },
  unpack(form, fields, range) {
    const { cols, from, to } = range;
    const rows = to - from;
    const levels = (key: string, level: LevelForm, low: number) =>
      unpackLevels(key, fields, level, { rows, cols, low, per: sharingIn(form, level, fields, range) });
    return {
      ...tileOf(form, range),
      ...(form.grid.kind === 'books' && { grid: bookOf(form.grid, fields) }),
      codes: checkedCodes(unpackRows(fields['codes']!, rows, cols / gridDim(form), gridBits(form)), form, range.name),
      scale: levels('scale', form.scale, 0),
      ...(form.zero && { zero: { kind: form.zero.kind, levels: levels('zero', form.zero, lowest(form.grid)) } }),
      ...unpackApart(form, fields, { from, to, cols, name: range.name ?? '' }),
    };
  },
};

/** Codes of a list that is shorter than their bits allow name its values. */
function checkedCodes(codes: Uint8Array, { grid }: TileForm, where = 'codes'): Uint8Array {
  if (grid.kind !== 'table' || grid.values.length === 2 ** gridBits({ grid })) return codes;
  const beyond = codes.find((code) => code >= grid.values.length);
  if (beyond === undefined) return codes;
  throw new FormatError({
    what: 'a code stands for no value of its list',
    where,
    value: beyond,
    limit: grid.values.length - 1,
    next: 'the file is damaged; make it again',
  });
}

function bookOf({ dim, per, stored }: Extract<GridForm, { kind: 'books' }>, fields: Record<string, Uint8Array>): Grid {
  const values = unpackFloats(fields['book']!, stored);
  return { kind: 'codebook', values, dim, per: { rows: per === 'row' ? 1 : 0, cols: typeof per === 'object' ? per.columns : 0 } };
}

/** So many codes fill whole words of 32 bits: 8 of 4 bits, 32 of 3 bits. */
export function rowsOfWords(bits: number): number {
  return 32 / (bits & -bits);
}

/** The parts of a tile that no field holds. */
export function tileOf(form: TileForm, { name = '', rows, cols, from, to }: TileRange) {
  return { name, shape: [rows, cols] as const, from, to, grid: gridIn(form.grid) };
}

/** The grid of a form; of learned books the values are in a field. */
export function gridIn(grid: GridForm): Grid {
  const whole = { rows: 0, cols: 0 };
  if (grid.kind === 'table') return { kind: 'codebook', values: Float32Array.from(grid.values), dim: 1, per: whole };
  return grid.kind === 'books' ? { kind: 'codebook', values: new Float32Array(0), dim: grid.dim, per: whole } : grid;
}

/** Zero points are values of the grid and are stored as codes: minus the grid's smallest value. */
export function lowest(grid: Grid | GridForm): number {
  return grid.kind === 'integer' && grid.signed ? -(2 ** (grid.bits - 1)) : 0;
}

/** Who shares a value of a level. @throws FormatError when the activation order is not one */
export function sharingIn(form: TileForm, level: LevelForm, fields: Record<string, Uint8Array>, range: TileRange): Sharing {
  if (level.wholeTensor) return { rows: 0, cols: 0 };
  if (!form.order || level.group === 0) return { rows: 1, cols: level.group };
  return { groupOf: readGroupIndex(fields.g_idx!, range.cols, level.group, range.name ?? 'g_idx') };
}

export function packOrder(tile: QuantizedTile, form: TileForm): Record<string, Uint8Array> {
  const cols = tile.shape[1];
  return form.order ? { g_idx: packGroupIndex(tile.scale!.per, cols, form.scale.group || cols) } : {};
}
