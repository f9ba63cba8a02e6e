/**
 * Packing of the container GPTQ: everything lies transposed, so that a row of the weight is a column of each field.
 *   codes  qweight i32 [in * bits / 32, out]      packed along in, low bits first, across words (3 bits: 32 codes in 3 words)
 *   scale  scales  f16 [groups, out]
 *   zero   qzeros  i32 [groups, out * bits / 32]  packed along out
 *   g_idx  i32 [in]
 * Version 1 stores each zero point minus one, version 2 as it is. As GPTQModel does, one is taken off (and added) in whole words: a
 * zero point of 0 borrows from its neighbour in the word, and reading gives both back. AutoGPTQ instead lets the -1 run over
 * the whole word; such zero points are lost, and nothing can be read from them. Zero points of 3 bits cross words: there one is
 * taken off each by itself, modulo 8.
 */
import { FormatError } from '../../errors.ts';
import type { TileForm } from '../../quantized/form.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { packRows, unpackRows } from '../code-rows.ts';
import type { FieldSize } from '../field-ranges.ts';
import { isSequential, packGroupIndex, readGroupIndex } from '../group-index.ts';
import { packFloats, perRow, unpackFloats } from '../level-fields.ts';
import type { Packing, TileRange } from '../packings.ts';
import { gridBits, lowest, rowsOfWords, sharingIn, tileOf } from '../tile-fields.ts';
import { transpose } from '../transpose.ts';

export const gptq = packing(1);
export const gptqV2 = packing(2);

function packing(version: 1 | 2): Packing {
  return {
    rowMultiple: (form) => rowsOfWords(gridBits(form)),
    sizes,
    pack: (tile, form) => pack(tile, form, version),
    unpack: (form, fields, range) => unpack(form, fields, range, version),
  };
}

function sizes(form: TileForm, rows: number, cols: number): Record<string, FieldSize> {
  const bits = gridBits(form);
  const groups = perRow(form.scale, cols);
  const striped = (lines: number, rowBytes: number): FieldSize => ({ rowBytes, stripes: { lines, lineBytes: rows * rowBytes } });
  return {
    codes: striped((cols * bits) / 32, 4),
    scale: striped(groups, 2),
    zero: striped(groups, bits / 8),
    g_idx: { rowBytes: 0, whole: cols * 4 },
  };
}

function pack(tile: QuantizedTile, form: TileForm, version: 1 | 2): Record<string, Uint8Array> {
  const rows = tile.to - tile.from;
  const cols = tile.shape[1];
  const bits = gridBits(form);
  const groups = perRow(form.scale, cols);
  const words = new Uint32Array(packRows(tile.codes, rows, cols, bits).buffer); // [rows, cols * bits / 32]
  const scales = packFloats(tile.scale!.values, 'f16');
  const halves = new Uint16Array(scales.buffer, scales.byteOffset, rows * groups);
  return {
    codes: bytesOf(transpose(words, rows, words.length / rows)),
    scale: bytesOf(transpose(halves, rows, groups)),
    zero: packZeros(transpose(zeroCodes(tile, form, rows * groups), rows, groups), groups, rows, bits, version),
    g_idx: packGroupIndex(tile.scale!.per, cols, form.scale.group || cols),
  };
}

/** [rows, groups]; a symmetric grid has its zero in the middle. */
function zeroCodes(tile: QuantizedTile, form: TileForm, count: number): Uint8Array {
  if (!form.zero) return new Uint8Array(count).fill(2 ** (gridBits(form) - 1));
  const low = lowest(tile.grid);
  return Uint8Array.from(tile.zero!.levels.values, (z) => z - low);
}

/** zeros: [groups, rows] */
function packZeros(zeros: Uint8Array, groups: number, rows: number, bits: number, version: 1 | 2): Uint8Array {
  if (version === 1 && 32 % bits !== 0) return packRows(shifted(zeros, bits, -1), groups, rows, bits);
  const bytes = packRows(zeros, groups, rows, bits);
  if (version === 1) addToFields(bytes, bits, -1);
  return bytes;
}

/** -> [groups, rows] */
function unpackZeros(bytes: Uint8Array, groups: number, rows: number, bits: number, version: 1 | 2): Uint8Array {
  if (version === 1 && 32 % bits !== 0) return shifted(unpackRows(bytes, groups, rows, bits), bits, 1);
  const packed = bytes.slice();
  if (version === 1) addToFields(packed, bits, 1);
  return unpackRows(packed, groups, rows, bits);
}

function shifted(zeros: Uint8Array, bits: number, by: 1 | -1): Uint8Array {
  return zeros.map((zero) => (zero + by) & (2 ** bits - 1));
}

function unpack(form: TileForm, fields: Record<string, Uint8Array>, range: TileRange, version: 1 | 2): QuantizedTile {
  const { rows: all, cols, from, to } = range;
  const rows = to - from;
  const bits = gridBits(form);
  const groups = perRow(form.scale, cols);
  const words = wordsOf(fields.codes!); // [cols * bits / 32, rows]
  const codes = unpackRows(bytesOf(transpose(words, words.length / rows, rows)), rows, cols, bits);
  const halves = new Uint16Array(fields.scale!.slice().buffer);
  const scales = unpackFloats(bytesOf(transpose(halves, groups, rows)), 'f16');
  const zeros = transpose(unpackZeros(fields.zero!, groups, rows, bits, version), groups, rows); // [rows, groups]
  const per = sharingIn(form, form.scale, fields, range);
  if (!form.order) checkSequential(form, fields.g_idx, range);
  const low = lowest(form.grid);
  if (!form.zero) checkMiddle(zeros, -low, range);
  return {
    ...tileOf(form, { ...range, rows: all }),
    codes,
    scale: { values: scales, stored: 'f16', per },
    ...(form.zero && {
      zero: { kind: form.zero.kind, levels: { values: Float32Array.from(zeros, (z) => z + low), stored: { bits }, per } },
    }),
  };
}

/** Old files have no g_idx without activation order. */
function checkSequential(form: TileForm, bytes: Uint8Array | undefined, { name = '', cols }: TileRange): void {
  if (!bytes) return;
  const group = form.scale.group || cols;
  if (isSequential(readGroupIndex(bytes, cols, group, name), group)) return;
  throw new FormatError({
    what: 'g_idx holds an activation order, and the configuration says desc_act: false',
    where: name,
    next: 'set desc_act to true in config.json',
  });
}

function checkMiddle(zeros: Uint8Array, middle: number, { name = '' }: TileRange): void {
  const other = zeros.find((zero) => zero !== middle);
  if (other === undefined) return;
  throw new FormatError({
    what: 'a zero point is not in the middle, and the configuration says sym: true',
    where: name,
    value: other,
    limit: middle,
    next: 'set sym to false in config.json, or check checkpoint_format',
  });
}

/** Adds `one` to every field in whole words, modulo 2^32, as GPTQModel does. */
function addToFields(bytes: Uint8Array, bits: number, one: 1 | -1): void {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const ones = (2 ** 32 - 1) / (2 ** bits - 1); // 0x11111111 for 4 bits
  for (let i = 0; i < words.length; i++) words[i] = words[i]! + one * ones;
}

function wordsOf(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.slice().buffer);
}

function bytesOf({ buffer, byteOffset, byteLength }: Uint8Array | Uint16Array | Uint32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
