/** Where rows of a field lie, and moving them: one run of bytes, or one run in each line of a transposed field. */
import type { ByteSink, ByteSource } from '../io/types.ts';
import type { Field, Stripes } from './types.ts';

/** The part of a field that says where its rows are. */
export interface FieldPlace {
  offset: number;
  rowBytes: number;
  whole?: number;
  stripes?: Stripes;
}

export type FieldSize = Omit<FieldPlace, 'offset'>;

/** Bytes of all rows. */
export function fieldBytes({ rowBytes, whole, stripes }: FieldSize, rows: number): number {
  return whole ?? (stripes ? stripes.lines * stripes.lineBytes : rows * rowBytes);
}

/** Bytes of `rows` rows in memory. */
export function rowsBytes({ rowBytes, whole, stripes }: FieldSize, rows: number): number {
  return whole ?? rows * rowBytes * (stripes?.lines ?? 1);
}

/** The same of bytes that are in memory, as a copy. */
export function rowsInMemory(bytes: Uint8Array, field: FieldPlace, [from, to]: readonly [number, number]): Uint8Array {
  const { rowBytes, whole, stripes } = field;
  const part = whole ?? (to - from) * rowBytes;
  const start = whole === undefined ? field.offset + from * rowBytes : field.offset;
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
  const { rowBytes, whole, stripes } = field;
  const bytes = new Uint8Array(rowsBytes(field, to - from));
  const offset = whole === undefined ? field.offset + from * rowBytes : field.offset;
  const part = (to - from) * rowBytes;
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
  const { rowBytes, whole, stripes } = field;
  const offset = whole === undefined ? field.offset + from * rowBytes : field.offset;
  const part = (to - from) * rowBytes;
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
  const { rowBytes, whole, stripes } = field;
  return {
    ...field,
    handle: { kind: 'memory', bytes },
    offset: whole === undefined ? -from * rowBytes : 0,
    ...(stripes && { stripes: { lines: stripes.lines, lineBytes: (to - from) * rowBytes } }),
  };
}
