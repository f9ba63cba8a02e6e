/**
 * Scales, zeros and minima in fields: floats, integer codes, or codes of few bits under one float for each row or for the tensor.
 *
 *   scale         [rows, groups] in its stored dtype, or ceil(groups * bits / 8) bytes a row ([1, 1] for one value a tensor)
 *   scale_parent  [rows, 1] or [1, 1], where the level is stored as codes: value = code * parent
 */
import {
  decodeBf16Array,
  decodeF16Array,
  decodeMinifloatArray,
  denseBytes,
  encodeBf16Array,
  encodeF16Array,
  encodeMinifloatArray,
  minifloat,
  minifloatValues,
} from '../numeric/index.ts';
import type { FloatStored, LevelForm } from '../quantized/form.ts';
import type { Levels, Sharing } from '../quantized/types.ts';
import { packRows, unpackRows } from './code-rows.ts';
import type { FieldSize } from './field-ranges.ts';

/** Values that a row holds of a level. */
export function perRow(form: LevelForm, cols: number): number {
  return form.group > 0 ? cols / form.group : 1;
}

const floatBytes: Readonly<Record<string, number>> = { f32: 4, f16: 2, bf16: 2, e4m3: 1, e8m0: 1 };

/** Bytes a row of a level that lies row by row; `whole` for one value a tensor. */
export function levelSize(form: LevelForm, cols: number): FieldSize {
  const { stored, wholeTensor } = form;
  const count = perRow(form, cols);
  const bytes = typeof stored === 'object' ? denseBytes(count, stored.bits) : count * floatBytes[stored]!;
  return wholeTensor ? { rowBytes: 0, whole: bytes } : { rowBytes: bytes };
}

/** Bytes of the fields of a level: the level itself and its parent. */
export function levelSizes(key: string, form: LevelForm, cols: number): Record<string, FieldSize> {
  const { parent } = form;
  const size =
    parent &&
    (parent.per === 'row' ? { rowBytes: floatBytes[parent.stored]! } : { rowBytes: 0, whole: floatBytes[parent.stored]! });
  return { [key]: levelSize(form, cols), ...(size && { [`${key}_parent`]: size }) };
}

export function packFloats(values: Float32Array, stored: LevelForm['stored']): Uint8Array {
  if (stored === 'e4m3' || stored === 'e8m0')
    return encodeMinifloatArray(minifloat(stored), values, new Uint8Array(values.length));
  const words = stored === 'f32' ? values : stored === 'f16' ? encodeF16Array(values) : encodeBf16Array(values);
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}

export function unpackFloats(bytes: Uint8Array, stored: Exclude<LevelForm['stored'], object>): Float32Array {
  if (stored === 'e4m3' || stored === 'e8m0') return decodeMinifloatArray(minifloat(stored), bytes);
  const aligned = bytes.slice().buffer;
  if (stored === 'f32') return new Float32Array(aligned);
  return stored === 'f16' ? decodeF16Array(new Uint16Array(aligned)) : decodeBf16Array(new Uint16Array(aligned));
}

/** @param low what the smallest code stands for: of zero points the smallest value of the grid */
export function packLevel(levels: Levels, form: LevelForm, rows: number, cols: number, low: number): Uint8Array {
  const { values } = levels;
  if (typeof form.stored !== 'object') return form.parent ? Uint8Array.from(levels.codes!) : packFloats(values, form.stored);
  const lines = form.wholeTensor ? 1 : rows;
  const codes = form.parent ? Uint8Array.from(levels.codes!) : Uint8Array.from(values, (z) => z - low);
  return packRows(codes, lines, form.wholeTensor ? 1 : perRow(form, cols), form.stored.bits);
}

export function packLevels(
  key: string,
  levels: Levels,
  form: LevelForm,
  rows: number,
  cols: number,
  low: number,
): Record<string, Uint8Array> {
  const { parent } = form;
  return {
    [key]: packLevel(levels, form, rows, cols, low),
    ...(parent && { [`${key}_parent`]: packFloats(levels.parent!.values, parent.stored) }),
  };
}

export function unpackLevel(bytes: Uint8Array, form: LevelForm, rows: number, cols: number, low: number): Float32Array {
  if (typeof form.stored !== 'object') return unpackFloats(bytes, form.stored);
  const [lines, count] = form.wholeTensor ? [1, 1] : [rows, perRow(form, cols)];
  return Float32Array.from(unpackRows(bytes, lines, count, form.stored.bits), (code) => code + low);
}

/** Of rows [0, rows) of a tile; `per` is who shares a value. */
export function unpackLevels(
  key: string,
  fields: Record<string, Uint8Array>,
  form: LevelForm,
  { rows, cols, low, per }: { rows: number; cols: number; low: number; per: Sharing },
): Levels {
  const { stored, parent } = form;
  const bytes = fields[key]!;
  if (!parent) return { values: unpackLevel(bytes, form, rows, cols, low), stored, per };
  const codes = typeof stored === 'object' ? Int16Array.from(unpackLevel(bytes, form, rows, cols, 0)) : Int16Array.from(bytes);
  const map = typeof stored === 'string' ? minifloatValues(minifloat(stored)) : undefined;
  const parents = unpackFloats(fields[`${key}_parent`]!, parent.stored);
  const count = perRow(form, cols);
  return {
    values: Float32Array.from(
      codes,
      (code, i) => (map?.[code] ?? code) * parents[parent.per === 'row' ? Math.floor(i / count) : 0]!,
    ),
    stored,
    per,
    codes,
    ...(map && { map }),
    parent: { values: parents, stored: parent.stored, per: { rows: parent.per === 'row' ? 1 : 0, cols: 0 } },
  };
}

/** The dtype of a level's field. */
export function levelType({ stored }: { stored: LevelForm['stored'] }): FloatStored | 'u8' | 'f8_e4m3' | 'f8_e8m0' {
  if (typeof stored === 'object') return 'u8';
  return stored === 'e4m3' ? 'f8_e4m3' : stored === 'e8m0' ? 'f8_e8m0' : stored;
}
