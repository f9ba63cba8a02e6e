import type { Cursor } from './cursor.ts';

/** A string of the file: its text, and its bytes where they are not UTF-8 (tokens may hold any bytes). */
export interface FileString {
  readonly text: string;
  readonly bytes?: Uint8Array;
}

const LENGTH_BYTES = 8;
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const lenient = new TextDecoder('utf-8', { ignoreBOM: true });

/** Reads a string: u64 length, then its bytes. */
export async function readString(cursor: Cursor, what: string, limit: number): Promise<FileString> {
  if (!cursor.has(LENGTH_BYTES)) await cursor.reserve(LENGTH_BYTES);
  const length = cursor.count(what, 1, limit);
  if (!cursor.has(length)) await cursor.reserve(length);
  const bytes = cursor.bytes(length);
  try {
    return { text: strict.decode(bytes) };
  } catch {
    return { text: lenient.decode(bytes), bytes: bytes.slice() };
  }
}

/** Reads a string that must be UTF-8: keys and tensor names. */
export async function readName(cursor: Cursor, what: string, limit: number): Promise<string> {
  const { text, bytes } = await readString(cursor, `${what} length`, limit);
  if (bytes) throw cursor.fail(`${what} is not valid UTF-8`, text);
  return text;
}
