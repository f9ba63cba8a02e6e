/**
 * The plain field layout of a quantized tensor: codes, scales and zeros each in rows of their own, packed densely, low bits first.
 * A row never shares a byte with the next, so that any worker can write any rows.
 *
 *   codes  [rows, ceil(cols * bits / 8)]
 *   scale  [rows, groups] in its stored dtype ([1, 1] for one scale a tensor)
 *   zero   the same, or ceil(groups * bits / 8) bytes a row for integer zero points
 *   g_idx  i32 [cols], where columns are in activation order
 */
import {
  decodeBf16Array,
  decodeF16Array,
  denseBytes,
  encodeBf16Array,
  encodeF16Array,
  packDense,
  unpackDense,
} from '../numeric/index.ts';
import { gridOf, zeroOf } from '../quantize/quantize-matrix.ts';
import type { IntegerScheme } from '../quantize/scheme.ts';
import type { Levels, QuantizedTile, Sharing } from '../quantized/types.ts';
import type { FieldSize } from './field-ranges.ts';
import { packGroupIndex, readGroupIndex } from './group-index.ts';
import type { Packing, TileRange } from './packings.ts';
import type { LevelForm, TileForm } from './types.ts';

export function tileFormOf(scheme: IntegerScheme): TileForm {
  const { granularity } = scheme;
  const zero = zeroOf(scheme);
  const per = {
    group: typeof granularity === 'object' ? granularity.group : 0,
    ...(granularity === 'tensor' && { wholeTensor: true }),
  };
  const { rounding } = scheme;
  const order = rounding?.order === 'activation' && rounding.groups === 'dynamic' && per.group > 0;
  return {
    grid: gridOf(scheme),
    ...(order && { order }),
    scale: { stored: scheme.scaleType, ...per },
    ...(zero && { zero: { kind: zero.kind, stored: zero.stored as LevelForm['stored'], ...per } }),
  };
}

const floatTypes = { f32: 'f32', f16: 'f16', bf16: 'bf16' } as const;

/** The dtype of a field: packed codes are bytes. */
export function fieldType(form: TileForm, key: string): 'f32' | 'f16' | 'bf16' | 'u8' | 'i32' {
  if (key === 'g_idx') return 'i32';
  const level = key === 'scale' ? form.scale : key === 'zero' ? form.zero : undefined;
  return level && typeof level.stored === 'string' ? floatTypes[level.stored] : 'u8';
}

/** Short name for tables: 'int4 g128 asym'. */
export function tileLabel(form: TileForm): string {
  const { group, wholeTensor } = form.scale;
  const per = wholeTensor ? 'tensor' : group ? `g${group}` : 'channel';
  return `int${gridBits(form)} ${per} ${form.zero ? 'asym' : 'sym'}`;
}

export function gridBits({ grid }: TileForm): number {
  return grid.kind === 'integer' ? grid.bits : 8;
}

/** Values that a row holds of a level. */
export function perRow(form: LevelForm, cols: number): number {
  return form.group > 0 ? cols / form.group : 1;
}

function levelBytes(form: LevelForm, count: number): number {
  return typeof form.stored === 'object' ? denseBytes(count, form.stored.bits) : count * (form.stored === 'f32' ? 4 : 2);
}

/** Bytes a row of a level that lies row by row; `whole` for one value a tensor. */
export function levelSize(form: LevelForm, cols: number): FieldSize {
  const bytes = levelBytes(form, perRow(form, cols));
  return form.wholeTensor ? { rowBytes: 0, whole: bytes } : { rowBytes: bytes };
}

/** The field of a form in activation order. */
export function orderSize(form: TileForm, cols: number): Record<string, FieldSize> {
  return form.order ? { g_idx: { rowBytes: 0, whole: cols * 4 } } : {};
}

/** Bytes a row of each field. */
export function fieldSizes(form: TileForm, cols: number): Record<string, FieldSize> {
  return {
    codes: { rowBytes: denseBytes(cols, gridBits(form)) },
    scale: levelSize(form.scale, cols),
    ...(form.zero && { zero: levelSize(form.zero, cols) }),
    ...orderSize(form, cols),
  };
}

export const dense: Packing = {
  rowMultiple: () => 1,
  sizes: (form, _rows, cols) => fieldSizes(form, cols),
  pack(tile, form) {
    const rows = tile.to - tile.from;
    const cols = tile.shape[1];
    return {
      codes: packRows(tile.codes, rows, cols, gridBits(form)),
      scale: packLevel(tile.scale!, form.scale, rows, cols, 0),
      ...(form.zero && { zero: packLevel(tile.zero!.levels, form.zero, rows, cols, lowest(tile.grid)) }),
      ...packOrder(tile, form),
    };
  },
  unpack(form, fields, range) {
    const { cols, from, to } = range;
    const levels = (bytes: Uint8Array, level: LevelForm, low: number): Levels => ({
      values: unpackLevel(bytes, level, to - from, cols, low),
      stored: level.stored,
      per: sharingIn(form, level, fields, range),
    });
    return {
      ...tileOf(form, range),
      codes: unpackRows(fields.codes!, to - from, cols, gridBits(form)),
      scale: levels(fields.scale!, form.scale, 0),
      ...(form.zero && { zero: { kind: form.zero.kind, levels: levels(fields.zero!, form.zero, lowest(form.grid)) } }),
    };
  },
};

/** So many codes fill whole words of 32 bits: 8 of 4 bits, 32 of 3 bits. */
export function rowsOfWords(bits: number): number {
  return 32 / (bits & -bits);
}

/** The parts of a tile that no field holds. */
export function tileOf(form: TileForm, { name = '', rows, cols, from, to }: TileRange) {
  return { name, shape: [rows, cols] as const, from, to, grid: form.grid };
}

/** Zero points are values of the grid and are stored as codes: minus the grid's smallest value. */
export function lowest(grid: QuantizedTile['grid']): number {
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

/** codes: [rows, cols] -> rows of `rowBytes` bytes (by default as few as hold them). */
export function packRows(
  codes: ArrayLike<number> & { subarray(a: number, b: number): Uint8Array | Uint16Array },
  rows: number,
  cols: number,
  bits: number,
  rowBytes = denseBytes(cols, bits),
): Uint8Array {
  const out = new Uint8Array(rows * rowBytes);
  for (let r = 0; r < rows; r++) out.set(packDense(codes.subarray(r * cols, (r + 1) * cols), bits), r * rowBytes);
  return out;
}

/** The inverse of `packRows`: [rows, cols]. */
export function unpackRows(
  bytes: Uint8Array,
  rows: number,
  cols: number,
  bits: number,
  rowBytes = denseBytes(cols, bits),
): Uint8Array {
  const codes = new Uint8Array(rows * cols);
  for (let r = 0; r < rows; r++) codes.set(unpackDense(bytes.subarray(r * rowBytes, (r + 1) * rowBytes), bits, cols), r * cols);
  return codes;
}

type FloatStored = 'f32' | 'f16' | 'bf16';

export function packFloats(values: Float32Array, stored: LevelForm['stored']): Uint8Array {
  const words = stored === 'f32' ? values : stored === 'f16' ? encodeF16Array(values) : encodeBf16Array(values);
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}

export function unpackFloats(bytes: Uint8Array, stored: FloatStored): Float32Array {
  const aligned = bytes.slice().buffer;
  if (stored === 'f32') return new Float32Array(aligned);
  return stored === 'f16' ? decodeF16Array(new Uint16Array(aligned)) : decodeBf16Array(new Uint16Array(aligned));
}

export function packLevel(levels: Levels, form: LevelForm, rows: number, cols: number, low: number): Uint8Array {
  const { values } = levels;
  if (typeof form.stored !== 'object') return packFloats(values, form.stored);
  const lines = form.wholeTensor ? 1 : rows;
  const codes = Uint8Array.from(values, (z) => z - low);
  return packRows(codes, lines, form.wholeTensor ? 1 : perRow(form, cols), form.stored.bits);
}

export function unpackLevel(bytes: Uint8Array, form: LevelForm, rows: number, cols: number, low: number): Float32Array {
  if (typeof form.stored !== 'object') return unpackFloats(bytes, form.stored);
  const [lines, count] = form.wholeTensor ? [1, 1] : [rows, perRow(form, cols)];
  return Float32Array.from(unpackRows(bytes, lines, count, form.stored.bits), (code) => code + low);
}
