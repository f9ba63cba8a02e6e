/** Where rows of a field lie, and moving them: one run of bytes, or one run in each line of a transposed field. */
import type { ByteSink, ByteSource } from '../io/types.ts';
import { valuesBefore } from '../quantized/quota.ts';
import type { Field, Quota, Stripes } from './types.ts';

/** The part of a field that says where its rows are. */
export interface FieldPlace {
  offset: number;
  rowBytes: number;
  whole?: number;
  stripes?: Stripes;
  quota?: Quota;
}

export type FieldSize = Omit<FieldPlace, 'offset'>;

/** Where a row begins, counted from row 0; in each line of a transposed field. */
export function rowStart({ rowBytes, quota }: Pick<FieldSize, 'rowBytes' | 'quota'>, row: number): number {
  return quota ? valuesBefore(quota.perRow, row) * quota.bytes : row * rowBytes;
}

/** Bytes of all rows. */
export function fieldBytes(field: FieldSize, rows: number): number {
  const { whole, stripes } = field;
  return whole ?? (stripes ? stripes.lines * stripes.lineBytes : rowStart(field, rows));
}

/** Bytes of the rows [from, to) in memory. */
function rowsBytes(field: FieldSize, from: number, to: number): number {
  return field.whole ?? (rowStart(field, to) - rowStart(field, from)) * (field.stripes?.lines ?? 1);
}

/** The same of bytes that are in memory, as a copy. */
export function rowsInMemory(bytes: Uint8Array, field: FieldPlace, [from, to]: readonly [number, number]): Uint8Array {
  const { whole, stripes } = field;
  const part = whole ?? rowStart(field, to) - rowStart(field, from);
  const start = whole === undefined ? field.offset + rowStart(field, from) : field.offset;
  if (whole !== undefined || !stripes) return bytes.slice(start, start + part);
  const out = new Uint8Array(stripes.lines * part);
  for (let line = 0; line < stripes.lines; line++) {
    const at = start + line * stripes.lineBytes;
    out.set(bytes.subarray(at, at + part), line * part);
  }
  return out;
}

/** Lines that are at most this many times as long as the part of them that is wanted are read in one go. */
const MAX_WASTE = 32;
/** Bytes of such a read. */
const MAX_SPAN = 2 ** 22;

/** Rows [from, to) of a field: [rows * rowBytes], transposed [lines, rows * rowBytes], or all bytes of a field without rows. */
export async function readField(source: ByteSource, field: FieldPlace, from: number, to: number): Promise<Uint8Array> {
  const { whole, stripes } = field;
  const bytes = new Uint8Array(rowsBytes(field, from, to));
  const offset = whole === undefined ? field.offset + rowStart(field, from) : field.offset;
  const part = rowStart(field, to) - rowStart(field, from);
  if (whole !== undefined || !stripes || part === stripes.lineBytes || part === 0) {
    await source.readInto(bytes, offset);
    return bytes;
  }
  const { lines, lineBytes } = stripes;
  const together = lineBytes > part * MAX_WASTE ? 1 : Math.max(1, Math.floor(MAX_SPAN / lineBytes));
  const span = new Uint8Array((together - 1) * lineBytes + part);
  for (let line = 0; line < lines; line += together) {
    const count = Math.min(together, lines - line);
    const read = span.subarray(0, (count - 1) * lineBytes + part);
    await source.readInto(read, offset + line * lineBytes);
    for (let i = 0; i < count; i++) bytes.set(read.subarray(i * lineBytes, i * lineBytes + part), (line + i) * part);
  }
  return bytes;
}

/** Writes what `readField` gives. Only bytes of these rows are touched: other tiles own the rest of each line. */
export async function writeField(
  sink: ByteSink,
  field: FieldPlace,
  [from, to]: readonly [number, number],
  bytes: Uint8Array,
): Promise<void> {
  const { whole, stripes } = field;
  const offset = whole === undefined ? field.offset + rowStart(field, from) : field.offset;
  const part = rowStart(field, to) - rowStart(field, from);
  if (whole !== undefined || !stripes || part === stripes.lineBytes) return sink.write(bytes, offset);
  for (let line = 0; line < stripes.lines; line++)
    await sink.write(bytes.subarray(line * part, (line + 1) * part), offset + line * stripes.lineBytes);
}

/** The field whose rows [from, to) are in memory, as `readField` gives them; row numbers stay those of the tensor. */
export function fieldInMemory<F extends FieldPlace>(
  field: F,
  bytes: Uint8Array,
  [from, to]: readonly [number, number],
): F & Field {
  const { whole, stripes } = field;
  return {
    ...field,
    handle: { kind: 'memory', bytes },
    offset: whole === undefined ? -rowStart(field, from) : 0,
    ...(stripes && { stripes: { lines: stripes.lines, lineBytes: (to - from) * field.rowBytes } }),
  };
}
