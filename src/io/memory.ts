import { FileError } from '../errors.ts';
import { segmentsOf } from './names.ts';
import { checkRange } from './range.ts';
import type { ByteSink, ByteSource, Store } from './types.ts';

/** A source over bytes that are already in memory. */
export function memorySource(bytes: Uint8Array, name = 'memory'): ByteSource {
  return {
    name,
    size: bytes.length,
    handle: { kind: 'memory', bytes },
    async readInto(target, offset) {
      checkRange(name, bytes.length, offset, target.length);
      target.set(bytes.subarray(offset, offset + target.length));
    },
    async close() {},
  };
}

/** A sink that writes into `bytes`. Workers see each other's writes only when `bytes` lie in a SharedArrayBuffer. */
export function memorySink(bytes: Uint8Array, name = 'memory'): ByteSink {
  return {
    name,
    size: bytes.length,
    handle: { kind: 'memory', bytes },
    async write(data, offset) {
      checkRange(name, bytes.length, offset, data.length);
      bytes.set(data, offset);
    },
    async readInto(target, offset) {
      checkRange(name, bytes.length, offset, target.length);
      target.set(bytes.subarray(offset, offset + target.length));
    },
    async flush() {},
    async close() {},
  };
}

/** Shared between threads where the platform allows it: a page without cross-origin isolation has no SharedArrayBuffer. */
function allocate(size: number): Uint8Array {
  return new Uint8Array(typeof SharedArrayBuffer === 'undefined' ? new ArrayBuffer(size) : new SharedArrayBuffer(size));
}

/** A store that lives in memory: for tests, for small models and for outputs that a page offers as a download. */
export class MemoryStore implements Store {
  readonly name: string;
  readonly #files = new Map<string, Uint8Array>();

  constructor(name = 'memory', files: Iterable<readonly [string, Uint8Array]> = []) {
    this.name = name;
    for (const [file, bytes] of files) this.#files.set(segmentsOf(file).join('/'), bytes);
  }

  async list(folder?: string): Promise<string[]> {
    return [...(folder === undefined ? this.#files.keys() : this.#inside(folder))].sort();
  }

  async stat(name: string): Promise<{ size: number; kind: 'file' | 'folder' } | undefined> {
    const bytes = this.#files.get(name);
    if (bytes) return { size: bytes.length, kind: 'file' };
    return [...this.#inside(name)].length > 0 ? { size: 0, kind: 'folder' } : undefined;
  }

  async open(name: string): Promise<ByteSource> {
    const bytes = this.#files.get(name);
    if (!bytes) throw new FileError({ what: 'no such file', where: `${this.name}/${name}` });
    return memorySource(bytes, `${this.name}/${name}`);
  }

  async create(name: string, size: number): Promise<ByteSink> {
    segmentsOf(name);
    const earlier = this.#files.get(name);
    let bytes = earlier;
    if (bytes?.length !== size) {
      bytes = allocate(size);
      if (earlier) bytes.set(earlier.subarray(0, size));
      this.#files.set(name, bytes);
    }
    return memorySink(bytes, `${this.name}/${name}`);
  }

  async append(name: string, bytes: Uint8Array): Promise<void> {
    segmentsOf(name);
    const earlier = this.#files.get(name) ?? new Uint8Array();
    const joined = new Uint8Array(earlier.length + bytes.length);
    joined.set(earlier);
    joined.set(bytes, earlier.length);
    this.#files.set(name, joined);
  }

  async claim(name: string, bytes: Uint8Array): Promise<boolean> {
    segmentsOf(name);
    if (this.#files.has(name)) return false;
    this.#files.set(name, bytes.slice());
    return true;
  }

  path(): undefined {}

  async rename(from: string, to: string): Promise<void> {
    segmentsOf(to);
    if (from === to) return;
    const moved = this.#files.has(from) ? [from] : [...this.#inside(from)];
    if (moved.length === 0) throw new FileError({ what: 'no such file', where: `${this.name}/${from}` });
    for (const name of moved) {
      this.#files.set(to + name.slice(from.length), this.#files.get(name)!);
      this.#files.delete(name);
    }
  }

  async remove(name: string): Promise<void> {
    this.#files.delete(name);
    for (const inside of [...this.#inside(name)]) this.#files.delete(inside);
  }

  async free(): Promise<number | undefined> {
    return undefined;
  }

  *#inside(folder: string): Iterable<string> {
    for (const name of this.#files.keys()) if (name.startsWith(`${folder}/`)) yield name;
  }
}
