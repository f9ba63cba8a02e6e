/**
 * A small GGUF reader: tensor table and bytes. It shares no code with the project's own reader, so that a mistake there cannot
 * hide here. Files come from this machine's own tools: they are not checked against hostile sizes.
 */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

export interface GgufTensor {
  name: string;
  /** ne of ggml: the contiguous dimension first. */
  dimensions: number[];
  /** ggml's type id. */
  type: number;
  offset: number;
  /** Up to the next tensor or the end of the file: padding counts, as it is part of the bytes that must agree. */
  bytes: number;
}

export interface GgufFile {
  path: string;
  size: number;
  metadata: Map<string, unknown>;
  tensors: GgufTensor[];
}

/** GGUF value types by id; 8 is a string, 9 an array. */
const scalars: Record<number, (view: DataView, at: number) => [value: unknown, bytes: number]> = {
  0: (v, at) => [v.getUint8(at), 1],
  1: (v, at) => [v.getInt8(at), 1],
  2: (v, at) => [v.getUint16(at, true), 2],
  3: (v, at) => [v.getInt16(at, true), 2],
  4: (v, at) => [v.getUint32(at, true), 4],
  5: (v, at) => [v.getInt32(at, true), 4],
  6: (v, at) => [v.getFloat32(at, true), 4],
  7: (v, at) => [v.getUint8(at) !== 0, 1],
  10: (v, at) => [v.getBigUint64(at, true), 8],
  11: (v, at) => [v.getBigInt64(at, true), 8],
  12: (v, at) => [v.getFloat64(at, true), 8],
};

export function readGguf(path: string): GgufFile {
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    const header = Buffer.alloc(Math.min(size, 64 * 2 ** 20));
    readSync(file, header, 0, header.length, 0);
    return { path, size, ...parseHeader(header, size) };
  } finally {
    closeSync(file);
  }
}

function parseHeader(header: Buffer, size: number): Pick<GgufFile, 'metadata' | 'tensors'> {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  let at = 4;
  const scalar = (type: number): unknown => {
    const read = scalars[type];
    if (!read) throw new Error(`GGUF value type ${type} at byte ${at}`);
    const [value, bytes] = read(view, at);
    at += bytes;
    return value;
  };
  const u32 = (): number => scalar(4) as number;
  const u64 = (): number => Number(scalar(10));
  const string = (): string => {
    const length = u64();
    at += length;
    return header.toString('utf8', at - length, at);
  };
  const value = (type: number): unknown => {
    if (type === 8) return string();
    if (type !== 9) return scalar(type);
    const of = u32();
    return Array.from({ length: u64() }, () => value(of));
  };

  if (header.toString('latin1', 0, 4) !== 'GGUF') throw new Error('not a GGUF file');
  const version = u32();
  if (version !== 3) throw new Error(`GGUF version ${version}`);
  const tensorCount = u64();
  const metadata = new Map<string, unknown>();
  for (let left = u64(); left > 0; left--) {
    const key = string();
    metadata.set(key, value(u32()));
  }
  const entries = Array.from({ length: tensorCount }, () => {
    const name = string();
    const dimensions = Array.from({ length: u32() }, u64);
    return { name, dimensions, type: u32(), offset: u64() };
  });
  const alignment = (metadata.get('general.alignment') as number | undefined) ?? 32;
  const data = Math.ceil(at / alignment) * alignment;
  const tensors = entries.map((entry, i) => {
    const offset = data + entry.offset;
    const end = i + 1 < entries.length ? data + entries[i + 1]!.offset : size;
    return { ...entry, offset, bytes: end - offset };
  });
  return { metadata, tensors };
}

/** The bytes of one tensor with the padding after it. */
export function tensorBytes(gguf: GgufFile, tensor: GgufTensor): Buffer {
  const file = openSync(gguf.path, 'r');
  try {
    const bytes = Buffer.alloc(tensor.bytes);
    readSync(file, bytes, 0, bytes.length, tensor.offset);
    return bytes;
  } finally {
    closeSync(file);
  }
}

/** Name, type, dimensions and sha256 of each tensor, in file order: equal lists mean equal weights. */
export function tensorDigests(path: string): string[] {
  const gguf = readGguf(path);
  const file = openSync(path, 'r');
  const buffer = Buffer.alloc(8 * 2 ** 20);
  try {
    return gguf.tensors.map(({ name, type, dimensions, offset, bytes }) => {
      const hash = createHash('sha256');
      for (let done = 0; done < bytes; ) {
        const read = readSync(file, buffer, 0, Math.min(buffer.length, bytes - done), offset + done);
        if (read === 0) throw new Error(`${path} ends inside ${name}`);
        hash.update(buffer.subarray(0, read));
        done += read;
      }
      return `${name} ${type} [${dimensions.join(', ')}] ${hash.digest('hex')}`;
    });
  } finally {
    closeSync(file);
  }
}

/** The first tensor in which two files differ, or undefined. */
export function firstDifference(a: string, b: string): string | undefined {
  const [left, right] = [tensorDigests(a), tensorDigests(b)];
  if (left.length !== right.length) return `${left.length} tensors against ${right.length}`;
  const at = left.findIndex((line, i) => line !== right[i]);
  return at < 0 ? undefined : `${left[at]} against ${right[at]}`;
}
