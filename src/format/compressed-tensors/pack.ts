/**
 * Packings of the container compressed-tensors; nothing is transposed.
 *
 * pack-quantized:
 *   codes  weight_packed     i32 [out, ceil(in * bits / 32)]      code after code, low bits first, across words
 *   scale  weight_scale      [out, groups] in the dtype of the weight
 *   zero   weight_zero_point i32 [ceil(out * bits / 32), groups]  packed down the rows
 *   g_idx  weight_g_idx      i32 [in], in files of versions before 0.20
 * Versions before 2026 put floor(32 / bits) codes into a word: 'compressed-tensors-words', which is the same for 2, 4 and 8 bits.
 *
 * int-quantized and naive-quantized ('int8'): weight i8 [out, in], weight_scale as above, weight_zero_point i8 like the scale.
 */

import type { TileForm } from '../../quantized/form.ts';
import type { Levels, QuantizedTile } from '../../quantized/types.ts';
import { packRows, unpackRows } from '../code-rows.ts';
import type { FieldSize } from '../field-ranges.ts';
import { levelSize, packLevel, perRow, unpackLevel } from '../level-fields.ts';
import type { Packing, TileRange } from '../packings.ts';
import { gridBits, lowest, orderSize, packOrder, rowsOfWords, sharingIn, tileOf } from '../tile-fields.ts';
import { transpose } from '../transpose.ts';

/** How the codes of rows lie in their words, and the zero points, which are packed down the rows. */
interface Words {
  /** Words of `count` codes. */
  words(count: number, bits: number): number;
  /** codes: [rows, count] -> [rows, words] */
  pack(codes: Uint8Array, rows: number, count: number, bits: number): Uint32Array;
  unpack(words: Uint32Array, rows: number, count: number, bits: number): Uint8Array;
  /** Codes that fill whole words. */
  unit(bits: number): number;
}

const acrossWords: Words = {
  words: (count, bits) => Math.ceil((count * bits) / 32),
  pack: (codes, rows, count, bits) =>
    new Uint32Array(packRows(codes, rows, count, bits, 4 * acrossWords.words(count, bits)).buffer),
  unpack: (words, rows, count, bits) => unpackRows(bytesOf(words), rows, count, bits, 4 * acrossWords.words(count, bits)),
  unit: rowsOfWords,
};

const withinWords: Words = {
  words: (count, bits) => Math.ceil(count / Math.floor(32 / bits)),
  pack(codes, rows, count, bits) {
    const each = Math.floor(32 / bits);
    const perLine = withinWords.words(count, bits);
    const words = new Uint32Array(rows * perLine);
    for (let r = 0; r < rows; r++)
      for (let i = 0; i < count; i++) words[r * perLine + Math.floor(i / each)]! |= codes[r * count + i]! << ((i % each) * bits);
    return words;
  },
  unpack(words, rows, count, bits) {
    const each = Math.floor(32 / bits);
    const perLine = withinWords.words(count, bits);
    const codes = new Uint8Array(rows * count);
    for (let r = 0; r < rows; r++)
      for (let i = 0; i < count; i++)
        codes[r * count + i] = (words[r * perLine + Math.floor(i / each)]! >>> ((i % each) * bits)) & (2 ** bits - 1);
    return codes;
  },
  unit: (bits) => Math.floor(32 / bits),
};

export const compressedTensors = packed(acrossWords);
export const compressedTensorsWords = packed(withinWords);

function packed(layout: Words): Packing {
  /** Rows that do not fill the words of their zero points: these are then read as a whole. */
  const isCut = (form: TileForm, rows: number) => rows % layout.unit(gridBits(form)) !== 0;
  return {
    rowMultiple: (form) => (form.zero ? layout.unit(gridBits(form)) : 1),
    sizes(form, rows, cols) {
      const bits = gridBits(form);
      const groups = perRow(form.scale, cols);
      const zero: FieldSize = isCut(form, rows)
        ? { rowBytes: 0, whole: 4 * groups * layout.words(rows, bits) }
        : { rowBytes: ((4 * groups) / layout.unit(bits)) * layout.words(layout.unit(bits), bits) };
      return {
        codes: { rowBytes: 4 * layout.words(cols, bits) },
        scale: levelSize(form.scale, cols),
        ...(form.zero && { zero }),
        ...orderSize(form, cols),
      };
    },
    pack(tile, form) {
      const rows = tile.to - tile.from;
      const cols = tile.shape[1];
      const bits = gridBits(form);
      return {
        codes: bytesOf(layout.pack(tile.codes as Uint8Array, rows, cols, bits)),
        scale: packLevel(tile.scale!, form.scale, rows, cols, 0),
        ...(form.zero && { zero: packZeros(tile, perRow(form.scale, cols), bits) }),
        ...packOrder(tile, form),
      };
    },
    unpack(form, fields, range) {
      const { rows, cols, from, to } = range;
      const bits = gridBits(form);
      const groups = perRow(form.scale, cols);
      const [first, count] = isCut(form, rows) ? [from, rows] : [0, to - from]; // rows that the zero points' bytes hold
      const low = lowest(form.grid);
      return {
        ...tileOf(form, range),
        codes: layout.unpack(wordsOf(fields.codes!), to - from, cols, bits),
        ...unpackScale(form, fields, range),
        ...(form.zero && {
          zero: {
            kind: form.zero.kind,
            levels: {
              values: unpackZeros(fields.zero!, groups, count, bits, low).subarray(first * groups, (first + to - from) * groups),
              stored: { bits },
              per: sharingIn(form, form.zero, fields, range),
            },
          },
        }),
      };
    },
  };

  /** -> [words of rows, groups] */
  function packZeros(tile: QuantizedTile, groups: number, bits: number): Uint8Array {
    const rows = tile.to - tile.from;
    const low = lowest(tile.grid);
    const codes = transpose(
      Uint8Array.from(tile.zero!.levels.values, (z) => z - low),
      rows,
      groups,
    ); // [groups, rows]
    const words = layout.pack(codes, groups, rows, bits);
    return bytesOf(transpose(words, groups, words.length / groups));
  }

  /** -> [rows, groups] */
  function unpackZeros(bytes: Uint8Array, groups: number, rows: number, bits: number, low: number): Float32Array {
    const words = wordsOf(bytes);
    const lines = transpose(words, words.length / groups, groups);
    return Float32Array.from(transpose(layout.unpack(lines, groups, rows, bits), groups, rows), (code) => code + low);
  }
}

/** Codes are stored unsigned here and signed there. */
const SIGN = 0x80;

export const int8: Packing = {
  rowMultiple: () => 1,
  sizes: (form, _rows, cols) => ({
    codes: { rowBytes: cols },
    scale: levelSize(form.scale, cols),
    ...(form.zero && { zero: levelSize(form.zero, cols) }),
  }),
  pack(tile, form) {
    const rows = tile.to - tile.from;
    const cols = tile.shape[1];
    return {
      codes: Uint8Array.from(tile.codes, (code) => code ^ SIGN),
      scale: packLevel(tile.scale!, form.scale, rows, cols, 0),
      ...(form.zero && { zero: packLevel(tile.zero!.levels, form.zero, rows, cols, lowest(tile.grid)).map((z) => z ^ SIGN) }),
    };
  },
  unpack(form, fields, range) {
    const { cols, from, to } = range;
    const zero = (bytes: Uint8Array) =>
      unpackLevel(
        bytes.map((z) => z ^ SIGN),
        form.zero!,
        to - from,
        cols,
        lowest(form.grid),
      );
    return {
      ...tileOf(form, range),
      codes: fields.codes!.map((code) => code ^ SIGN),
      ...unpackScale(form, fields, range),
      ...(form.zero && {
        zero: {
          kind: form.zero.kind,
          levels: { values: zero(fields.zero!), stored: form.zero.stored, per: sharingIn(form, form.zero, fields, range) },
        },
      }),
    };
  },
};

function unpackScale(form: TileForm, fields: Record<string, Uint8Array>, range: TileRange): { scale: Levels } {
  const { cols, from, to } = range;
  const values = unpackLevel(fields.scale!, form.scale, to - from, cols, 0);
  return { scale: { values, stored: form.scale.stored, per: sharingIn(form, form.scale, fields, range) } };
}

function wordsOf(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.slice().buffer);
}

function bytesOf({ buffer, byteOffset, byteLength }: Uint32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
