/**
 * Files in the origin private file system, for browsers: the twin of disk.node.ts, imported as `#io/disk`. Paths count from the
 * file system's root. A Worker writes through a synchronous access handle; a page, which has none, through a writable stream.
 */
import { FileError, LimitError } from '../errors.ts';
import { blobSource } from './blob.ts';
import { MAX_LISTED_FILES } from './limits.ts';
import { segmentsOf } from './names.ts';
import { checkRange } from './range.ts';
import type { ByteSink, ByteSource, Store } from './types.ts';

/** Bytes copied at a time where a file cannot be moved. */
const COPY_BYTES = 2 ** 22;

/** What to do about a DOMException's name. */
const advice: Readonly<Record<string, string>> = {
  NotFoundError: 'check the name',
  TypeMismatchError: 'a folder lies where a file is expected, or the other way round',
  QuotaExceededError: 'free storage of this site and run again: it continues',
  NoModificationAllowedError: 'another tab or worker has the file open: close it',
  InvalidStateError: 'the file changed meanwhile: open it again',
  NotAllowedError: 'allow this site to store files',
  SecurityError: 'storage is blocked for this site: allow it or leave private browsing',
};

/** Standard in workers; TypeScript declares it only in its worker library. */
interface SyncAccessHandle {
  read(bytes: Uint8Array, options: { at: number }): number;
  write(bytes: Uint8Array, options: { at: number }): number;
  truncate(size: number): void;
  getSize(): number;
  flush(): void;
  close(): void;
}
type WorkerFileHandle = FileSystemFileHandle & {
  createSyncAccessHandle?(options?: { mode: 'readwrite-unsafe' }): Promise<SyncAccessHandle>;
  move?(folder: FileSystemDirectoryHandle, name: string): Promise<void>;
};

export async function openFile(path: string): Promise<ByteSource> {
  const file = await guarded(path, 'open', async () => (await fileAt(path)).getFile());
  return blobSource(file, path, { kind: 'file', path });
}

/** Opens a file that a store's `create` made, for writing from another thread. */
export async function openFileSink(path: string): Promise<ByteSink> {
  return guarded(path, 'open', async () => {
    const handle = await fileAt(path);
    return openSinkOn(path, handle, (await handle.getFile()).size);
  });
}

export async function statPath(path: string): Promise<{ size: number; kind: 'file' | 'folder' } | undefined> {
  return guarded(path, 'look at', async () => {
    const file = await orAbsent(fileAt(path));
    if (file) return { size: (await file.getFile()).size, kind: 'file' as const };
    return (await orAbsent(folderAt(path))) && { size: 0, kind: 'folder' as const };
  });
}

export function splitPath(path: string): { folder: string; name: string } {
  const segments = plain(path);
  return { folder: segments.slice(0, -1).join('/'), name: segments.at(-1) ?? '' };
}

/** A folder of the origin private file system as a store. The folder is made when the first file is. */
export function diskStore(folder: string): Store {
  const at = (name: string) => [...plain(folder), ...segmentsOf(name)].join('/');
  return {
    name: folder,
    async list(inside) {
      const path = inside === undefined ? folder : at(inside);
      return guarded(path, 'list', async () => {
        const root = await orAbsent(folderAt(path));
        const names = root ? await listFiles(path, root) : [];
        return inside === undefined ? names : names.map((name) => `${inside}/${name}`);
      });
    },
    async stat(name) {
      return statPath(at(name));
    },
    async open(name) {
      return openFile(at(name));
    },
    async create(name, size) {
      const path = at(name);
      return guarded(path, 'create', async () => openSinkOn(path, await fileAt(path, true), size));
    },
    async append(name, bytes) {
      const path = at(name);
      await guarded(path, 'write', async () => {
        const handle = await fileAt(path, true);
        const { size } = await handle.getFile();
        const sink = await openSinkOn(path, handle, size + bytes.length);
        await sink.write(bytes, size);
        await sink.close();
      });
    },
    // OPFS cannot create a file only if it is absent; between the two calls another tab could come, which a page does not expect.
    async claim(name, bytes) {
      if (await this.stat(name)) return false;
      await this.append(name, bytes);
      return true;
    },
    path: () => undefined,
    async rename(from, to) {
      await guarded(at(from), 'rename', () => move(at(from), at(to)));
    },
    async remove(name) {
      await guarded(at(name), 'remove', () => removeAt(at(name)));
    },
    async free() {
      const { quota, usage } = await navigator.storage.estimate();
      return quota === undefined ? undefined : quota - (usage ?? 0);
    },
  };
}

/** Opens `handle` for writing with `size` bytes; what it holds stays. */
async function openSinkOn(path: string, handle: WorkerFileHandle, size: number): Promise<ByteSink> {
  const inWorker = typeof (globalThis as { WorkerGlobalScope?: unknown }).WorkerGlobalScope === 'function';
  if (!inWorker || !handle.createSyncAccessHandle) return streamSink(path, handle, size);
  // Browsers that know the mode let several workers write one file; the others ignore it and lock the file.
  const access = await handle.createSyncAccessHandle({ mode: 'readwrite-unsafe' });
  if (access.getSize() !== size) access.truncate(size);
  return syncSink(path, access, size);
}

function syncSink(path: string, access: SyncAccessHandle, size: number): ByteSink {
  const transfer = (verb: 'read' | 'write', bytes: Uint8Array, offset: number) =>
    guarded(path, verb, async () => {
      checkRange(path, size, offset, bytes.length);
      for (let done = 0; done < bytes.length; ) {
        const moved = access[verb](bytes.subarray(done), { at: offset + done });
        if (moved === 0)
          throw new FileError({ what: `cannot ${verb} all bytes`, where: path, next: advice['QuotaExceededError']! });
        done += moved;
      }
    });
  return {
    name: path,
    size,
    handle: { kind: 'file', path },
    write: (bytes, offset) => transfer('write', bytes, offset),
    readInto: (target, offset) => transfer('read', target, offset),
    flush: () => guarded(path, 'write', async () => access.flush()),
    close: () => guarded(path, 'close', async () => access.close()),
  };
}

/**
 * A stream writes to a copy that replaces the file when the stream closes, so reading back closes it and the next write opens
 * another one: right, but slow for a writer that often looks back. Workers do not come here.
 */
async function streamSink(path: string, handle: WorkerFileHandle, size: number): Promise<ByteSink> {
  let stream: FileSystemWritableFileStream | undefined;
  const settle = async () => {
    const closing = stream;
    stream = undefined;
    await closing?.close();
  };
  if ((await handle.getFile()).size !== size) {
    stream = await handle.createWritable({ keepExistingData: true });
    await stream.truncate(size);
    await settle();
  }
  return {
    name: path,
    size,
    handle: { kind: 'file', path },
    async write(bytes, offset) {
      checkRange(path, size, offset, bytes.length);
      await guarded(path, 'write', async () => {
        stream ??= await handle.createWritable({ keepExistingData: true });
        // A stream keeps a view until it is written; a copy also leaves memory that is shared, which it would refuse.
        await stream.write({ type: 'write', position: offset, data: bytes.slice().buffer as ArrayBuffer });
      });
    },
    async readInto(target, offset) {
      checkRange(path, size, offset, target.length);
      await guarded(path, 'read', async () => {
        await settle();
        await blobSource(await handle.getFile(), path).readInto(target, offset);
      });
    },
    flush: () => guarded(path, 'write', settle),
    close: () => guarded(path, 'close', settle),
  };
}

async function move(from: string, to: string): Promise<void> {
  if (from === to) return;
  const file = (await orAbsent(fileAt(from))) as WorkerFileHandle | undefined;
  if (!file) return moveFolder(from, to);
  const { folder, name } = splitPath(to);
  if (file.move) return file.move(await folderAt(folder, true), name);
  await copy(from, to);
  await removeAt(from);
}

/** Folders cannot be moved in the origin private file system: their files are. */
async function moveFolder(from: string, to: string): Promise<void> {
  for (const name of await listFiles(from, await folderAt(from))) await move(`${from}/${name}`, `${to}/${name}`);
  await removeAt(from);
}

async function copy(from: string, to: string): Promise<void> {
  const file = await (await fileAt(from)).getFile();
  const target = await openSinkOn(to, await fileAt(to, true), file.size);
  for (let at = 0; at < file.size; at += COPY_BYTES)
    await target.write(new Uint8Array(await file.slice(at, at + COPY_BYTES).arrayBuffer()), at);
  await target.close();
}

async function removeAt(path: string): Promise<void> {
  const { folder, name } = splitPath(path);
  const parent = await orAbsent(folderAt(folder));
  if (parent) await orAbsent(parent.removeEntry(name, { recursive: true }));
}

async function listFiles(label: string, root: FileSystemDirectoryHandle): Promise<string[]> {
  const names: string[] = [];
  const visit = async (folder: FileSystemDirectoryHandle, prefix: string) => {
    for await (const [name, entry] of folder.entries()) {
      if (entry.kind === 'directory') await visit(entry as FileSystemDirectoryHandle, `${prefix}${name}/`);
      else names.push(prefix + name);
      if (names.length > MAX_LISTED_FILES)
        throw new LimitError({ what: 'folder holds too many files to be a model', where: label, limit: MAX_LISTED_FILES });
    }
  };
  await visit(root, '');
  return names.sort();
}

async function fileAt(path: string, create = false): Promise<FileSystemFileHandle> {
  const { folder, name } = splitPath(path);
  return (await folderAt(folder, create)).getFileHandle(name, { create });
}

async function folderAt(path: string, create = false): Promise<FileSystemDirectoryHandle> {
  let folder = await navigator.storage.getDirectory();
  for (const segment of plain(path)) folder = await folder.getDirectoryHandle(segment, { create });
  return folder;
}

/** Segments of a path; a leading slash and `.` segments say nothing here. */
function plain(path: string): string[] {
  const segments = path.split('/').filter((segment) => segment !== '' && segment !== '.');
  return segments.length > 0 ? segmentsOf(segments.join('/')) : [];
}

async function orAbsent<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    const name = (error as DOMException).name;
    if (name === 'NotFoundError' || name === 'TypeMismatchError') return undefined;
    throw error;
  }
}

async function guarded<T>(path: string, verb: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof FileError || error instanceof LimitError) throw error;
    const { name, message } = error as DOMException;
    const next = advice[name];
    const what = name === 'NotFoundError' ? 'no such file or folder' : `cannot ${verb} this file (${name}: ${message})`;
    throw new FileError({ what, where: path, ...(next ? { next } : {}) });
  }
}
