import { FormatError } from '../../errors.ts';
import { type StorageType, storage } from '../../tensor/storage.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { GgufScalarType, GgufValue } from '../types.ts';
import { ByteWriter } from './byte-writer.ts';
import { MAX_ALIGNMENT, MAX_DIMENSIONS, MAX_NAME_BYTES } from './limits.ts';
import { blockBytes, DEFAULT_ALIGNMENT, isAlignment, padded } from './read.ts';
import { scalars, valueTypeIds } from './value-types.ts';

export interface GgufTensorHead {
  readonly name: string;
  readonly type: StorageType;
  /** Outermost first; the file gets it reversed. */
  readonly shape: readonly number[];
}

/** Where everything of a file lies, before any of its data exists. */
export interface GgufLayout {
  /** All bytes up to the data section, padding included. */
  readonly header: Uint8Array;
  readonly dataOffset: number;
  /** In file order; offsets count from the start of the file. The bytes between tensors are zero. */
  readonly tensors: readonly { readonly name: string; readonly offset: number; readonly bytes: number }[];
  readonly fileSize: number;
}

/**
 * Plans a GGUF file of version 3 as ggml writes it (gguf.cpp `gguf_write_out`): keys and tensors in the given order, the header
 * and every tensor, the last too, padded to the alignment.
 * @param alignment must equal the key `general.alignment` where there is one; that key's value, else 32, by default.
 * @throws FormatError for what GGUF cannot hold: types without a ggml id, names over 63 bytes, values out of range.
 */
export function layoutGguf(
  metadata: Iterable<readonly [string, GgufValue]>,
  tensors: readonly GgufTensorHead[],
  alignment?: number,
): GgufLayout {
  const keys = [...metadata];
  const align = checkedAlignment(keys, alignment);
  const writer = new ByteWriter();
  writer.raw(new TextEncoder().encode('GGUF'));
  writer.u32(3);
  writer.u64(tensors.length);
  writer.u64(keys.length);
  for (const [key, value] of unique(keys, ([key]) => key)) {
    writer.string(key);
    writeValue(writer, key, value);
  }
  let end = 0;
  const placed = [];
  for (const tensor of unique(tensors, ({ name }) => name)) {
    const bytes = writeDescription(writer, tensor, end);
    placed.push({ name: tensor.name, offset: end, bytes });
    end = padded(end + bytes, align);
  }
  writer.pad(align);
  const header = writer.done();
  const dataOffset = header.length;
  return {
    header,
    dataOffset,
    tensors: placed.map(({ name, offset, bytes }) => ({ name, offset: dataOffset + offset, bytes })),
    fileSize: dataOffset + end,
  };
}

/** A whole GGUF file in memory: for small files and tests. */
export function writeGguf(
  metadata: Iterable<readonly [string, GgufValue]>,
  tensors: ReadonlyMap<string, Tensor>,
  alignment?: number,
): Uint8Array {
  const heads = [...tensors].map(([name, { type, shape }]) => ({ name, type, shape }));
  const layout = layoutGguf(metadata, heads, alignment);
  const file = new Uint8Array(layout.fileSize);
  file.set(layout.header);
  for (const { name, offset, bytes } of layout.tensors) {
    const data = tensors.get(name)!.bytes;
    if (data.length !== bytes)
      throw new FormatError({ what: 'bytes do not fit the shape', where: name, value: data.length, limit: bytes });
    file.set(data, offset);
  }
  return file;
}

function checkedAlignment(keys: readonly (readonly [string, GgufValue])[], wanted?: number): number {
  const key = keys.find(([name]) => name === 'general.alignment')?.[1];
  const alignment = wanted ?? (key ? Number(key.value) : DEFAULT_ALIGNMENT);
  if (!isAlignment(alignment))
    throw new FormatError({ what: 'alignment is not a usable power of two', value: alignment, limit: MAX_ALIGNMENT });
  // A reader takes 32 where the key is absent.
  const stated = key ? Number(key.value) : DEFAULT_ALIGNMENT;
  if ((key && key.type !== 'u32') || stated !== alignment)
    throw new FormatError({ what: 'general.alignment must be a u32 that states the alignment', value: stated, limit: alignment });
  return alignment;
}

function* unique<T>(items: readonly T[], nameOf: (item: T) => string): Iterable<T> {
  const seen = new Set<string>();
  for (const item of items) {
    const name = nameOf(item);
    if (seen.has(name)) throw new FormatError({ what: 'the same name twice', where: name });
    seen.add(name);
    yield item;
  }
}

function writeDescription(writer: ByteWriter, { name, type, shape }: GgufTensorHead, offset: number): number {
  const { ggml } = storage[type];
  const fail = (what: string, value: unknown, limit?: unknown) =>
    new FormatError({ what, where: name, value, ...(limit !== undefined && { limit }) });
  if (ggml === undefined) throw fail('GGUF has no type for this dtype', type);
  if (shape.length > MAX_DIMENSIONS) throw fail('too many dimensions', shape.length, MAX_DIMENSIONS);
  const bytes = blockBytes(type, shape, fail);
  const nameBytes = writer.string(name);
  if (nameBytes > MAX_NAME_BYTES) throw fail('tensor name is too long for ggml', `${nameBytes} bytes`, MAX_NAME_BYTES);
  writer.u32(shape.length);
  for (const dimension of shape.toReversed()) writer.u64(dimension);
  writer.u32(ggml);
  writer.u64(offset);
  return bytes;
}

function writeValue(writer: ByteWriter, key: string, value: GgufValue): void {
  writer.u32(valueTypeIds.indexOf(value.type));
  if (value.type !== 'array') {
    writeScalar(writer, key, value.type, value.value, value.type === 'string' ? value.bytes : undefined);
    return;
  }
  writer.u32(valueTypeIds.indexOf(value.of));
  writer.u64(value.value.length);
  value.value.forEach((element, i) => {
    writeScalar(writer, key, value.of, element, value.bytes?.[i]);
  });
}

function writeScalar(writer: ByteWriter, key: string, type: GgufScalarType, value: unknown, bytes?: Uint8Array): void {
  const fail = () => new FormatError({ what: `value does not fit ${type}`, where: key, value });
  if (type === 'string') {
    if (typeof value !== 'string') throw fail();
    writer.string(bytes ?? value);
  } else if (type === 'bool') {
    if (typeof value !== 'boolean') throw fail();
    writer.raw(Uint8Array.of(value ? 1 : 0));
  } else {
    if (typeof value !== 'number' && typeof value !== 'bigint') throw fail();
    const { range, set, bytes: size } = scalars[type];
    const whole = typeof value === 'bigint' || Number.isInteger(value);
    if (range && (!whole || value < range[0] || value > range[1])) throw fail();
    writer.put(size, (view, at) => set(view, at, value));
  }
}
