import { FormatError } from '../../errors.ts';
import type { StorageType } from '../../tensor/storage.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { dtypeOf } from './dtypes.ts';
import { MAX_HEADER_BYTES } from './limits.ts';
import { plainBytes } from './read.ts';

export interface TensorHead {
  readonly name: string;
  readonly type: StorageType;
  readonly shape: readonly number[];
}

/** Where everything of a file lies, before any of its data exists. */
export interface SafetensorsLayout {
  /** Length, JSON and padding: the first bytes of the file. */
  readonly header: Uint8Array;
  /** In file order; offsets count from the start of the file. */
  readonly offsets: ReadonlyMap<string, { readonly offset: number; readonly bytes: number }>;
  readonly fileSize: number;
}

const ALIGNMENT = 8;

/**
 * Plans a safetensors file: widest dtype first, then by name, the header padded with spaces to a multiple of 8, as the
 * reference implementation does.
 * @throws FormatError for a name given twice or `__metadata__`, and for types that safetensors does not have.
 */
export function layoutSafetensors(tensors: Iterable<TensorHead>, metadata?: ReadonlyMap<string, string>): SafetensorsLayout {
  const ranked = [...tensors].map((tensor) => ({ ...tensor, ...spelled(tensor) }));
  ranked.sort((a, b) => b.rank - a.rank || byCodePoint(a.name, b.name));

  const members = metadata ? [`"__metadata__":${jsonOf(metadata)}`] : [];
  const relative = new Map<string, { from: number; bytes: number }>();
  let end = 0;
  for (const { name, dtype, type, shape } of ranked) {
    if (relative.has(name)) throw new FormatError({ what: 'two tensors of one name', where: name });
    const bytes = plainBytes(type, shape, name);
    relative.set(name, { from: end, bytes });
    members.push(`${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape}],"data_offsets":[${end},${end + bytes}]}`);
    end += bytes;
  }
  const header = headerBytes(`{${members.join()}}`);
  const offsets = new Map([...relative].map(([name, { from, bytes }]) => [name, { offset: header.length + from, bytes }]));
  return { header, offsets, fileSize: header.length + end };
}

/**
 * A whole safetensors file in memory: for small files and tests.
 * @throws FormatError as layoutSafetensors, and when a tensor's bytes do not fit its shape.
 */
export function writeSafetensors(tensors: ReadonlyMap<string, Tensor>, metadata?: ReadonlyMap<string, string>): Uint8Array {
  const heads = [...tensors].map(([name, { type, shape }]) => ({ name, type, shape }));
  const { header, offsets, fileSize } = layoutSafetensors(heads, metadata);
  const file = new Uint8Array(fileSize);
  file.set(header);
  for (const [name, { offset, bytes }] of offsets) {
    const data = tensors.get(name)!.bytes;
    if (data.length !== bytes)
      throw new FormatError({ what: 'bytes do not fit the shape', where: name, value: data.length, limit: bytes });
    file.set(data, offset);
  }
  return file;
}

function spelled({ name, type }: TensorHead): { dtype: string; rank: number } {
  if (name === '__metadata__') throw new FormatError({ what: 'a tensor cannot have this name', where: name });
  const found = dtypeOf(type);
  if (found) return found;
  throw new FormatError({ what: 'safetensors has no dtype for this type', where: name, value: type, next: 'write GGUF instead' });
}

function headerBytes(json: string): Uint8Array {
  const text = new TextEncoder().encode(json);
  const length = Math.ceil(text.length / ALIGNMENT) * ALIGNMENT;
  if (length > MAX_HEADER_BYTES)
    throw new FormatError({ what: 'header is too large', value: length, limit: MAX_HEADER_BYTES, next: 'write several shards' });
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(text, 8);
  return header;
}

/** Member by member: an object would move keys that look like numbers to the front and lose `__proto__`. */
function jsonOf(strings: ReadonlyMap<string, string>): string {
  return `{${[...strings].map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join()}}`;
}

/** The order of UTF-8 bytes, in which Rust sorts; JavaScript's own puts U+E000..U+FFFF after the surrogates. */
function byCodePoint(a: string, b: string): number {
  for (let i = 0; i < a.length && i < b.length; ) {
    const [x, y] = [a.codePointAt(i)!, b.codePointAt(i)!];
    if (x !== y) return x - y;
    i += x > 0xffff ? 2 : 1;
  }
  return a.length - b.length;
}
