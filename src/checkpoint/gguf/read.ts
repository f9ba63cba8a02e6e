import type { ByteSource } from '../../io/types.ts';
import { type StorageType, storage, storageOfGgml } from '../../tensor/storage.ts';
import type { GgufMetadata, TensorEntry } from '../types.ts';
import { Cursor } from './cursor.ts';
import { MAX_ALIGNMENT, MAX_DIMENSIONS, MAX_KEYS, MAX_NAME_BYTES, MAX_TENSORS } from './limits.ts';
import { readMetadata } from './metadata.ts';
import { readName } from './strings.ts';

/**
 * The container (ggml's docs/gguf.md and src/gguf.cpp): magic, version, counts, typed key-value pairs, tensor descriptions, padding,
 * then the tensors' data, one after the other, each padded. All little-endian.
 */
export interface GgufFile {
  readonly version: 2 | 3;
  readonly metadata: GgufMetadata;
  readonly alignment: number;
  /** Where the data section begins. */
  readonly dataOffset: number;
  /** In file order. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
}

export const DEFAULT_ALIGNMENT = 32;
/** Magic, version and the two counts. */
const PREFIX_BYTES = 24;
/** Smallest key-value pair: length and one byte of key, type, one byte of value. */
const SMALLEST_KEY_BYTES = 8 + 1 + 4 + 1;
/** Smallest tensor description: name length, number of dimensions, type, offset. */
const SMALLEST_TENSOR_BYTES = 8 + 4 + 4 + 8;

/** Type ids that ggml has withdrawn, by the name they had. */
const withdrawn: Readonly<Record<number, string>> = {
  4: 'Q4_2',
  5: 'Q4_3',
  31: 'Q4_0_4_4',
  32: 'Q4_0_4_8',
  33: 'Q4_0_8_8',
  36: 'IQ4_NL_4_4',
  37: 'IQ4_NL_4_8',
  38: 'IQ4_NL_8_8',
};

/** A tensor description as the file has it; `shape` is turned round, `offset` counts from the data section. */
interface Description {
  name: string;
  type: StorageType;
  shape: number[];
  bytes: number;
  offset: number;
}

/**
 * Reads the header of a GGUF file, version 2 or 3.
 * @throws FormatError for anything that the format does not allow, LimitError past the bounds of limits.ts.
 */
export async function readGguf(source: ByteSource): Promise<GgufFile> {
  const cursor = new Cursor(source);
  await cursor.reserve(PREFIX_BYTES);
  const version = readVersion(cursor);
  const tensorCount = cursor.count('number of tensors', SMALLEST_TENSOR_BYTES, MAX_TENSORS);
  const keyCount = cursor.count('number of keys', SMALLEST_KEY_BYTES, MAX_KEYS);
  const metadata = await readMetadata(cursor, keyCount);
  const alignment = alignmentOf(metadata, cursor);
  const descriptions: Description[] = [];
  for (let i = 0; i < tensorCount; i++) descriptions.push(await readDescription(cursor, i));
  const dataOffset = padded(cursor.position, alignment);
  return { version, metadata, alignment, dataOffset, tensors: placed(descriptions, dataOffset, alignment, cursor) };
}

/** `size` rounded up to a multiple of `alignment`. */
export function padded(size: number, alignment: number): number {
  return Math.ceil(size / alignment) * alignment;
}

/** Whether tensors can be aligned to `value` bytes. */
export function isAlignment(value: number): boolean {
  return value > 0 && value <= MAX_ALIGNMENT && Number.isInteger(Math.log2(value));
}

function readVersion(cursor: Cursor): 2 | 3 {
  const magic = String.fromCharCode(...cursor.bytes(4));
  if (magic !== 'GGUF') throw cursor.fail('not a GGUF file: the magic is wrong', magic, 'GGUF');
  const version = cursor.u32();
  if (version === 2 || version === 3) return version;
  if (version === 1)
    throw cursor.fail('GGUF version 1 is not supported', 1, '2 or 3', 'convert the model again with a current tool');
  if ((version & 0xffff) === 0)
    throw cursor.fail('the file is big-endian', version, undefined, 'convert the model again for a little-endian machine');
  throw cursor.fail('unknown GGUF version', version, '2 or 3', 'a newer fewbits may read it');
}

function alignmentOf(metadata: GgufMetadata, cursor: Cursor): number {
  cursor.what = "key 'general.alignment'";
  const value = metadata.get('general.alignment');
  if (value === undefined) return DEFAULT_ALIGNMENT;
  if (value.type !== 'u32') throw cursor.fail('alignment must be a u32', value.type);
  if (!isAlignment(value.value)) throw cursor.fail('alignment is not a usable power of two', value.value, MAX_ALIGNMENT);
  return value.value;
}

async function readDescription(cursor: Cursor, index: number): Promise<Description> {
  cursor.what = `tensor ${index}`;
  const name = await readName(cursor, 'tensor name', MAX_NAME_BYTES);
  cursor.what = `tensor '${name}'`;
  await cursor.reserve(4);
  const dimensions = cursor.u32();
  if (dimensions > MAX_DIMENSIONS) throw cursor.fail('too many dimensions', dimensions, MAX_DIMENSIONS);
  await cursor.reserve(8 * dimensions + 4 + 8);
  const shape: number[] = [];
  // The file has the innermost dimension first.
  for (let i = 0; i < dimensions; i++) shape.unshift(cursor.u64('dimension'));
  const id = cursor.u32();
  const type = storageOfGgml(id);
  if (type === undefined) throw unknownType(cursor, id);
  const bytes = blockBytes(type, shape, (what, value, limit) => cursor.fail(what, value, limit));
  return { name, type, shape, bytes, offset: cursor.u64('offset') };
}

function unknownType(cursor: Cursor, id: number): Error {
  const name = withdrawn[id];
  return name
    ? cursor.fail(`tensor type ${id} (${name}) was withdrawn from ggml`, undefined, undefined, 'quantize the model again')
    : cursor.fail(`unknown tensor type ${id}`, undefined, undefined, 'the file may come from a fork or a newer ggml');
}

/**
 * Bytes of a tensor of a ggml type.
 * @throws what `fail` makes, for an empty dimension (CWE-369 in readers that divide by it), overflow, or a broken block.
 */
export function blockBytes(
  type: StorageType,
  shape: readonly number[],
  fail: (what: string, value: unknown, limit?: unknown) => Error,
): number {
  let count = 1;
  for (const dimension of shape) {
    if (dimension === 0) throw fail('a dimension is zero', shape);
    count *= dimension;
    if (count > Number.MAX_SAFE_INTEGER) throw fail('number of values overflows', shape);
  }
  const { block, bytes } = storage[type];
  const row = shape.at(-1) ?? 1;
  if (row % block !== 0) throw fail(`rows are not whole blocks of ${type}`, row, `multiple of ${block}`);
  const size = (count / block) * bytes;
  if (size > Number.MAX_SAFE_INTEGER) throw fail('size in bytes overflows', shape);
  return size;
}

/** Gives each tensor its place: the data lies in the order of the descriptions, without gaps, inside the file. */
function placed(descriptions: Description[], dataOffset: number, alignment: number, cursor: Cursor): Map<string, TensorEntry> {
  const { source } = cursor;
  const tensors = new Map<string, TensorEntry>();
  let expected = 0;
  for (const { name, type, shape, bytes, offset } of descriptions) {
    cursor.what = `tensor '${name}'`;
    if (tensors.has(name)) throw cursor.fail('two tensors of one name');
    if (offset !== expected)
      throw cursor.fail(`tensor has offset ${offset}, expected ${expected}`, undefined, undefined, offsetHint(tensors));
    const end = dataOffset + offset + bytes;
    if (end > source.size)
      throw cursor.fail(
        'tensor data reaches past the end of the file',
        end,
        source.size,
        'the file is truncated: fetch it again',
      );
    tensors.set(name, { name, type, shape, source, offset: dataOffset + offset, bytes });
    expected = padded(offset + bytes, alignment);
  }
  return tensors;
}

/** Q1_0 and Q2_0 had other group sizes in the fork that they come from, under the same type ids. */
function offsetHint(before: ReadonlyMap<string, TensorEntry>): string {
  for (const { type } of before.values())
    if (type === 'q1_0' || type === 'q2_0')
      return `an earlier tensor is ${type}: a fork of llama.cpp writes that type id with groups of 128, ggml has ${storage[type].block} values a group`;
  return 'the file is damaged or its writer pads differently';
}
