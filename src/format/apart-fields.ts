/**
 * What a quantized tensor has besides codes and levels. Rows stay in rows of their own, so that any worker can write any rows; every
 * size is known from the form.
 *
 *   column_scale   [1, cols]
 *   sparse_column  u16 or i32 [rows, k], rising in each row     sparse_value  [rows, k]; of a k with a fraction both [1, ceil(k rows)],
 *                  row r from ceil(k r) on
 *   column_index   i32 [1, n]                                   column_value  [rows, n]
 *   low_rank_a     [rows, r]                                    low_rank_b    [r, cols]
 *   book           [rows, entries * dim], or [1, books * entries * dim] for one book a tensor or one for each run of columns
 */
import { FormatError } from '../errors.ts';
import type { FloatStored, GridForm, TileForm } from '../quantized/form.ts';
import { valuesBefore } from '../quantized/quota.ts';
import type { Grid, QuantizedTile } from '../quantized/types.ts';
import type { FieldSize } from './field-ranges.ts';
import { packFloats, unpackFloats } from './level-fields.ts';

export type ApartType = FloatStored | 'u16' | 'i32';

/** A field of such a part: its dtype, its values a row (or in all), how it is taken from a tile. */
interface ApartField {
  type: ApartType;
  perRow?: number;
  whole?: number;
  pack(tile: QuantizedTile): Uint8Array;
}

const bytesOf = { f32: 4, f16: 2, bf16: 2, u16: 2, i32: 4 } as const;

export function apartFields(form: TileForm, cols: number): Record<string, ApartField> {
  const { columnScale, sparse, columns, lowRank, grid } = form;
  const indexType = sparseIndex(cols);
  return {
    ...(columnScale && {
      column_scale: { type: columnScale, whole: cols, pack: (tile) => packFloats(tile.columnScale!, columnScale) },
    }),
    ...(sparse && {
      sparse_column: {
        type: indexType,
        perRow: sparse.perRow,
        pack: (tile) => bytesIn(indexType === 'u16' ? Uint16Array.from(tile.sparse!.col) : tile.sparse!.col),
      },
      sparse_value: { type: sparse.stored, perRow: sparse.perRow, pack: (tile) => packFloats(tile.sparse!.value, sparse.stored) },
    }),
    ...(columns && {
      column_index: { type: 'i32', whole: columns.count, pack: (tile) => bytesIn(tile.columns!.index) },
      column_value: {
        type: columns.stored,
        perRow: columns.count,
        pack: (tile) => packFloats(tile.columns!.value, columns.stored),
      },
    }),
    ...(lowRank && {
      low_rank_a: { type: lowRank.stored, perRow: lowRank.rank, pack: (tile) => packFloats(tile.lowRank!.a, lowRank.stored) },
      low_rank_b: {
        type: lowRank.stored,
        whole: lowRank.rank * cols,
        pack: (tile) => packFloats(tile.lowRank!.b, lowRank.stored),
      },
    }),
    ...(grid.kind === 'books' && {
      book: {
        type: grid.stored,
        ...bookSize(grid, cols),
        pack: (tile) => packFloats((tile.grid as Extract<Grid, { kind: 'codebook' }>).values, grid.stored),
      },
    }),
  };
}

export function apartSizes(form: TileForm, cols: number): Record<string, FieldSize> {
  return Object.fromEntries(
    Object.entries(apartFields(form, cols)).map(([key, { type, perRow, whole }]) => [
      key,
      whole === undefined ? rowsOf(perRow!, bytesOf[type]) : { rowBytes: 0, whole: whole * bytesOf[type] },
    ]),
  );
}

function bookSize({ bits, dim, per }: Extract<GridForm, { kind: 'books' }>, cols: number): Pick<ApartField, 'perRow' | 'whole'> {
  const values = 2 ** bits * dim;
  if (per === 'row') return { perRow: values };
  return { whole: values * (per === 'tensor' ? 1 : Math.ceil(cols / per.columns)) };
}

function rowsOf(perRow: number, bytes: number): FieldSize {
  return { rowBytes: perRow * bytes, ...(!Number.isInteger(perRow) && { quota: { perRow, bytes } }) };
}

/** @throws FormatError for a column that the tensor does not have */
export function unpackApart(
  form: TileForm,
  fields: Record<string, Uint8Array>,
  { from, to, cols, name }: { from: number; to: number; cols: number; name: string },
): Pick<QuantizedTile, 'columnScale' | 'sparse' | 'columns' | 'lowRank'> {
  const { columnScale, sparse, columns, lowRank } = form;
  return {
    ...(columnScale && { columnScale: unpackFloats(fields['column_scale']!, columnScale) }),
    ...(sparse && {
      sparse: {
        row: sparseRows(sparse.perRow, from, to),
        col: inside(indicesIn(fields['sparse_column']!, sparseIndex(cols)), cols, `${name}.sparse_column`),
        value: unpackFloats(fields['sparse_value']!, sparse.stored),
        stored: sparse.stored,
      },
    }),
    ...(columns && {
      columns: {
        index: inside(indicesIn(fields['column_index']!, 'i32'), cols, `${name}.column_index`),
        value: unpackFloats(fields['column_value']!, columns.stored),
        stored: columns.stored,
      },
    }),
    ...(lowRank && {
      lowRank: {
        a: unpackFloats(fields['low_rank_a']!, lowRank.stored),
        b: unpackFloats(fields['low_rank_b']!, lowRank.stored),
      },
    }),
  };
}

/** The rows of sparse values, counted from the tile's first. */
function sparseRows(perRow: number, from: number, to: number): Int32Array {
  const before = valuesBefore(perRow, from);
  const row = new Int32Array(valuesBefore(perRow, to) - before);
  for (let r = from; r < to; r++) row.fill(r - from, valuesBefore(perRow, r) - before, valuesBefore(perRow, r + 1) - before);
  return row;
}

function sparseIndex(cols: number): 'u16' | 'i32' {
  return cols <= 2 ** 16 ? 'u16' : 'i32';
}

function bytesIn({ buffer, byteOffset, byteLength }: Uint16Array | Int32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function indicesIn(bytes: Uint8Array, type: 'u16' | 'i32'): Int32Array {
  const { buffer } = bytes.slice();
  return type === 'u16' ? Int32Array.from(new Uint16Array(buffer)) : new Int32Array(buffer);
}

function inside(index: Int32Array, cols: number, where: string): Int32Array {
  const wrong = index.find((col) => col < 0 || col >= cols);
  if (wrong === undefined) return index;
  throw new FormatError({
    what: 'no such column',
    where,
    value: wrong,
    limit: cols - 1,
    next: 'the file is damaged; make it again',
  });
}
