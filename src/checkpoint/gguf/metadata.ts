import type { GgufMetadata, GgufScalarType, GgufValue } from '../types.ts';
import type { Cursor } from './cursor.ts';
import { MAX_ARRAY_ELEMENTS, MAX_KEY_BYTES, MAX_STRING_BYTES } from './limits.ts';
import { readName, readString } from './strings.ts';
import { scalars, valueTypeIds } from './value-types.ts';

/** Array elements that the file may still have. */
interface Budget {
  elements: number;
}

/** Reads `count` key-value pairs, types kept. */
export async function readMetadata(cursor: Cursor, count: number): Promise<GgufMetadata> {
  const metadata = new Map<string, GgufValue>();
  const budget: Budget = { elements: MAX_ARRAY_ELEMENTS };
  for (let i = 0; i < count; i++) {
    cursor.what = `key ${i}`;
    const key = await readName(cursor, 'key', MAX_KEY_BYTES);
    cursor.what = `key '${key}'`;
    if (key === '') throw cursor.fail('key is empty');
    if (metadata.has(key)) throw cursor.fail('the same key twice');
    metadata.set(key, await readValue(cursor, budget));
  }
  return metadata;
}

async function readValue(cursor: Cursor, budget: Budget): Promise<GgufValue> {
  const type = await readType(cursor);
  if (type === 'array') return readArray(cursor, budget);
  if (type === 'string') {
    const { text, bytes } = await readString(cursor, 'string length', MAX_STRING_BYTES);
    return { type, value: text, ...(bytes && { bytes }) };
  }
  const size = type === 'bool' ? 1 : scalars[type].bytes;
  await cursor.reserve(size);
  if (type === 'bool') return { type, value: readBool(cursor) };
  const value = cursor.take(size, scalars[type].get);
  return type === 'u64' || type === 'i64' ? { type, value } : { type, value: Number(value) };
}

async function readType(cursor: Cursor): Promise<GgufScalarType | 'array'> {
  await cursor.reserve(4);
  const id = cursor.u32();
  const type = valueTypeIds[id];
  if (type === undefined) throw cursor.fail('unknown type of value', id, valueTypeIds.length - 1);
  return type;
}

async function readArray(cursor: Cursor, budget: Budget): Promise<GgufValue> {
  const of = await readType(cursor);
  // No known key needs them, and a chain of nested arrays is a chain of calls (CWE-674).
  if (of === 'array') throw cursor.fail('an array inside an array is not supported');
  await cursor.reserve(8);
  // The smallest string is its length.
  const size = of === 'string' ? 8 : of === 'bool' ? 1 : scalars[of].bytes;
  const length = cursor.count('array length', size, budget.elements);
  budget.elements -= length;
  if (of === 'string') return readStrings(cursor, length);
  const value: (number | bigint | boolean)[] = [];
  for (let i = 0; i < length; i++) {
    if (!cursor.has(size)) await cursor.reserve(size);
    value.push(of === 'bool' ? readBool(cursor) : cursor.take(size, scalars[of].get));
  }
  return { type: 'array', of, value };
}

async function readStrings(cursor: Cursor, length: number): Promise<GgufValue> {
  const value: string[] = [];
  const raw = new Map<number, Uint8Array>();
  for (let i = 0; i < length; i++) {
    const { text, bytes } = await readString(cursor, 'string length', MAX_STRING_BYTES);
    value.push(text);
    if (bytes) raw.set(i, bytes);
  }
  if (raw.size === 0) return { type: 'array', of: 'string', value };
  const encoder = new TextEncoder();
  return { type: 'array', of: 'string', value, bytes: value.map((text, i) => raw.get(i) ?? encoder.encode(text)) };
}

function readBool(cursor: Cursor): boolean {
  const byte = cursor.take(1, (view, at) => view.getUint8(at));
  if (byte > 1) throw cursor.fail('a bool is neither 0 nor 1', byte);
  return byte === 1;
}
