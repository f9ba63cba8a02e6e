import { FormatError } from '../../errors.ts';
import { read } from '../../io/range.ts';
import type { ByteSource } from '../../io/types.ts';
import { type StorageType, storage } from '../../tensor/storage.ts';
import { decodeText, JsonScanner } from '../json.ts';
import type { TensorEntry } from '../types.ts';
import { dtypeOf, typeOfDtype } from './dtypes.ts';
import { MAX_DIMENSIONS, MAX_HEADER_BYTES } from './limits.ts';

/**
 * The container: u64 header length, a JSON object {name: {dtype, shape, data_offsets}}, then the data. Offsets count from the
 * end of the header and must cover the data exactly, without hole or overlap. The reference is safetensors/src/tensor.rs; this
 * reader refuses four things that it lets pass: a repeated name, an unknown field, `__metadata__` null, and white space before
 * the object.
 */
export interface SafetensorsFile {
  /** In the order of their bytes. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** `__metadata__`, in header order; undefined when there is none. */
  readonly metadata?: ReadonlyMap<string, string>;
}

/** One row of the header: a tensor and its bytes [from, to) of the data. */
interface Row {
  name: string;
  type: StorageType;
  shape: readonly number[];
  from: number;
  to: number;
}

const LENGTH_BYTES = 8;

/**
 * Reads the header of a safetensors file.
 * @throws FormatError for anything that the format does not allow.
 */
export async function readSafetensors(source: ByteSource): Promise<SafetensorsFile> {
  const where = source.name;
  if (source.size < LENGTH_BYTES) throw new FormatError({ what: 'too short for a header length', where, value: source.size });
  const prefix = await read(source, 0, LENGTH_BYTES);
  const claimed = new DataView(prefix.buffer).getBigUint64(0, true);
  if (claimed > MAX_HEADER_BYTES)
    throw new FormatError({ what: 'header length is too large', where, value: claimed, limit: MAX_HEADER_BYTES });
  const length = Number(claimed);
  const dataOffset = LENGTH_BYTES + length;
  if (dataOffset > source.size)
    throw new FormatError({ what: 'header reaches past the end of the file', where, value: dataOffset, limit: source.size });

  const text = decodeText(await read(source, LENGTH_BYTES, length), where);
  const { rows, metadata } = parseHeader(text, where);
  const tensors = new Map<string, TensorEntry>();
  for (const row of covering(rows, source.size - dataOffset, where)) {
    const { name, type, shape, from, to } = row;
    tensors.set(name, { name, type, shape, source, offset: dataOffset + from, bytes: to - from });
  }
  return { tensors, ...(metadata && { metadata }) };
}

function parseHeader(text: string, where: string): { rows: Row[]; metadata?: Map<string, string> } {
  if (!text.startsWith('{')) throw new FormatError({ what: "header does not start with '{'", where, value: text.slice(0, 20) });
  const scanner = new JsonScanner(text, where);
  const rows: Row[] = [];
  let metadata: Map<string, string> | undefined;
  scanner.object((name) => {
    if (name === '__metadata__') metadata = readStrings(scanner);
    else rows.push(readRow(scanner, name, where));
  });
  scanner.end();
  return { rows, ...(metadata && { metadata }) };
}

function readStrings(scanner: JsonScanner): Map<string, string> {
  const strings = new Map<string, string>();
  scanner.object((key) => strings.set(key, scanner.string()));
  return strings;
}

function readRow(scanner: JsonScanner, name: string, file: string): Row {
  let dtype: string | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  scanner.object((field) => {
    if (field === 'dtype') dtype = scanner.string();
    else if (field === 'shape') shape = readIntegers(scanner, MAX_DIMENSIONS);
    else if (field === 'data_offsets') offsets = readIntegers(scanner, 2);
    // A field that changes what the bytes mean must not be read over.
    else throw scanner.fail(`unknown field of tensor '${name}'`, field);
  });
  const where = `${file}: ${name}`;
  if (dtype === undefined || shape === undefined || offsets === undefined)
    throw new FormatError({ what: 'tensor lacks dtype, shape or data_offsets', where });
  const type = typeOfDtype(dtype);
  if (type === undefined) throw new FormatError({ what: 'unknown dtype', where, value: dtype });
  const [from, to] = offsets;
  if (from === undefined || to === undefined || to < from)
    throw new FormatError({ what: 'data_offsets are not [begin, end]', where, value: offsets });
  const bytes = plainBytes(type, shape, where);
  if (bytes !== to - from)
    throw new FormatError({
      what: `data_offsets do not fit ${dtype} [${shape}]`,
      where,
      value: to - from,
      limit: `${bytes} bytes`,
    });
  return { name, type, shape, from, to };
}

function readIntegers(scanner: JsonScanner, limit: number): number[] {
  const integers: number[] = [];
  scanner.array(() => {
    if (integers.length === limit) throw scanner.fail(`a list is longer than ${limit}`);
    integers.push(scanner.integer());
  });
  return integers;
}

/**
 * Bytes of a tensor of a safetensors dtype.
 * @throws FormatError when the count overflows 2^53 - 1 or a sub-byte dtype does not end on a byte.
 */
export function plainBytes(type: StorageType, shape: readonly number[], where: string): number {
  let count = 1;
  for (const dimension of shape) {
    count *= dimension;
    if (count > Number.MAX_SAFE_INTEGER) throw new FormatError({ what: 'shape overflows', where, value: shape });
  }
  const { block, bytes } = storage[type];
  if (count % block !== 0)
    throw new FormatError({
      what: `${dtypeOf(type)?.dtype} values do not end on a byte`,
      where,
      value: count,
      limit: `multiple of ${block}`,
    });
  const size = (count / block) * bytes;
  if (size > Number.MAX_SAFE_INTEGER) throw new FormatError({ what: 'size in bytes overflows', where, value: shape });
  return size;
}

/** Sorts rows by their bytes and checks that they cover the data exactly. */
function covering(rows: Row[], size: number, where: string): Row[] {
  rows.sort((a, b) => a.from - b.from || a.to - b.to);
  let end = 0;
  for (const { name, from, to } of rows) {
    const what = from < end ? 'tensor overlaps the one before' : 'hole before the tensor';
    if (from !== end)
      throw new FormatError({ what, where: `${where}: ${name}`, value: `offset ${from}`, limit: `offset ${end}` });
    end = to;
  }
  if (end > size)
    throw new FormatError({
      what: 'tensor data reaches past the end of the file',
      where,
      value: end,
      limit: size,
      next: 'fetch the file again',
    });
  if (end < size) throw new FormatError({ what: 'bytes after the last tensor', where, value: size - end });
  return rows;
}
