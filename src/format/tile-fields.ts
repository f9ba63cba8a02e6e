/**
 * The plain field layout of a quantized tensor: codes, scales and zeros each in rows of their own, packed densely, low bits first.
 * A row never shares a byte with the next, so that any worker can write any rows.
 *
 *   codes  [rows, ceil(cols * bits / 8)]
 *   scale  [rows, groups] in its stored dtype ([1, 1] for one scale a tensor)
 *   zero   the same, or ceil(groups * bits / 8) bytes a row for integer zero points
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
import type { LevelForm, TileForm } from './types.ts';

export function tileFormOf(scheme: IntegerScheme): TileForm {
  const { granularity } = scheme;
  const zero = zeroOf(scheme);
  const per = {
    group: typeof granularity === 'object' ? granularity.group : 0,
    ...(granularity === 'tensor' && { wholeTensor: true }),
  };
  return {
    grid: gridOf(scheme),
    scale: { stored: scheme.scaleType, ...per },
    ...(zero && { zero: { kind: zero.kind, stored: zero.stored as LevelForm['stored'], ...per } }),
  };
}

const floatTypes = { f32: 'f32', f16: 'f16', bf16: 'bf16' } as const;

/** The dtype of a field: packed codes are bytes. */
export function fieldType(form: TileForm, key: string): 'f32' | 'f16' | 'bf16' | 'u8' {
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
function perRow(form: LevelForm, cols: number): number {
  return form.group > 0 ? cols / form.group : 1;
}

function levelBytes(form: LevelForm, count: number): number {
  return typeof form.stored === 'object' ? denseBytes(count, form.stored.bits) : count * (form.stored === 'f32' ? 4 : 2);
}

/** Bytes a row of each field; `whole` for a field that belongs to the whole tensor. */
export function fieldSizes(form: TileForm, cols: number): Record<string, { rowBytes: number; whole?: number }> {
  const level = (one: LevelForm) => {
    const bytes = levelBytes(one, perRow(one, cols));
    return one.wholeTensor ? { rowBytes: 0, whole: bytes } : { rowBytes: bytes };
  };
  return {
    codes: { rowBytes: denseBytes(cols, gridBits(form)) },
    scale: level(form.scale),
    ...(form.zero && { zero: level(form.zero) }),
  };
}

export function packTile(tile: QuantizedTile, form: TileForm): Record<string, Uint8Array> {
  const rows = tile.to - tile.from;
  const cols = tile.shape[1];
  const bits = gridBits(form);
  const codes = new Uint8Array(rows * denseBytes(cols, bits));
  packRows(tile.codes, rows, cols, bits, codes);
  return {
    codes,
    scale: packLevel(tile.scale!, form.scale, rows, cols, 0),
    ...(form.zero && { zero: packLevel(tile.zero!.levels, form.zero, rows, cols, lowest(form)) }),
  };
}

export function unpackTile(
  form: TileForm,
  fields: Record<string, Uint8Array>,
  place: { name?: string; rows: number; cols: number; from: number; to: number },
): QuantizedTile {
  const { rows, cols, from, to } = place;
  const bits = gridBits(form);
  const rowBytes = denseBytes(cols, bits);
  const codes = new Uint8Array((to - from) * cols);
  for (let r = 0; r < to - from; r++) {
    codes.set(unpackDense(fields.codes!.subarray(r * rowBytes, (r + 1) * rowBytes), bits, cols), r * cols);
  }
  return {
    name: place.name ?? '',
    shape: [rows, cols],
    from,
    to,
    grid: form.grid,
    codes,
    scale: unpackLevel(fields.scale!, form.scale, to - from, cols, 0),
    ...(form.zero && {
      zero: { kind: form.zero.kind, levels: unpackLevel(fields.zero!, form.zero, to - from, cols, lowest(form)) },
    }),
  };
}

/** Zero points are values of the grid and are stored as codes: minus the grid's smallest value. */
function lowest({ grid }: TileForm): number {
  return grid.kind === 'integer' && grid.signed ? -(2 ** (grid.bits - 1)) : 0;
}

function packRows(
  codes: ArrayLike<number> & { subarray(a: number, b: number): Uint8Array | Uint16Array },
  rows: number,
  cols: number,
  bits: number,
  out: Uint8Array,
): void {
  const rowBytes = denseBytes(cols, bits);
  for (let r = 0; r < rows; r++) out.set(packDense(codes.subarray(r * cols, (r + 1) * cols), bits), r * rowBytes);
}

function packLevel(levels: Levels, form: LevelForm, rows: number, cols: number, low: number): Uint8Array {
  const { values } = levels;
  if (typeof form.stored === 'object') {
    const { bits } = form.stored;
    const count = form.wholeTensor ? 1 : perRow(form, cols);
    const lines = form.wholeTensor ? 1 : rows;
    const out = new Uint8Array(lines * denseBytes(count, bits));
    packRows(
      Uint8Array.from(values, (z) => z - low),
      lines,
      count,
      bits,
      out,
    );
    return out;
  }
  const words = form.stored === 'f32' ? values : form.stored === 'f16' ? encodeF16Array(values) : encodeBf16Array(values);
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}

function unpackLevel(bytes: Uint8Array, form: LevelForm, rows: number, cols: number, low: number): Levels {
  const count = form.wholeTensor ? 1 : perRow(form, cols);
  const lines = form.wholeTensor ? 1 : rows;
  const per: Sharing = form.wholeTensor ? { rows: 0, cols: 0 } : { rows: 1, cols: form.group };
  const { stored } = form;
  if (typeof stored === 'object') {
    const rowBytes = denseBytes(count, stored.bits);
    const values = new Float32Array(lines * count);
    for (let r = 0; r < lines; r++) {
      const codes = unpackDense(bytes.subarray(r * rowBytes, (r + 1) * rowBytes), stored.bits, count);
      for (let i = 0; i < count; i++) values[r * count + i] = codes[i]! + low;
    }
    return { values, stored, per };
  }
  const aligned = bytes.slice().buffer;
  const values =
    stored === 'f32'
      ? new Float32Array(aligned)
      : stored === 'f16'
        ? decodeF16Array(new Uint16Array(aligned))
        : decodeBf16Array(new Uint16Array(aligned));
  return { values, stored, per };
}
