/** Files on disk, for Node. Its twin for browsers is disk.browser.ts; both are imported as `#io/disk`. */
import * as fs from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { isMainThread } from 'node:worker_threads';
import { FileError, LimitError } from '../errors.ts';
import { MAX_LISTED_FILES } from './limits.ts';
import { segmentsOf } from './names.ts';
import { checkRange } from './range.ts';
import type { ByteSink, ByteSource, Store } from './types.ts';

/** One system call moves at most 2^31 - 1 bytes; a power of two keeps the parts aligned. */
const CALL_BYTES = 2 ** 30;

/** What to do about an error code of the system. */
const advice: Readonly<Record<string, string>> = {
  ENOENT: 'check the path',
  ENOTDIR: 'check the path',
  EISDIR: 'give a file, not a folder',
  EACCES: 'check the permissions of the file and its folder',
  EPERM: 'check the permissions of the file and its folder',
  EROFS: 'choose an output on a disk that can be written',
  ENOSPC: 'free disk space, or write to another disk',
  EDQUOT: 'the disk quota is used up: free space, or write to another disk',
  EMFILE: 'too many open files: raise the limit (ulimit -n)',
  ENAMETOOLONG: 'choose a shorter name',
  EIO: 'the disk reports an error: copy the file to another disk',
};

/** Opens a file for reading. Within a worker reads are synchronous: straight into the target, which may be WebAssembly memory. */
export async function openFile(path: string): Promise<ByteSource> {
  const { descriptor, size } = opened(path, 'r');
  return {
    name: path,
    size,
    handle: { kind: 'file', path: realPath(path) },
    async readInto(target, offset) {
      checkRange(path, size, offset, target.length);
      await transfer(readPart, descriptor, target, offset, path);
    },
    close: closeOnce(path, descriptor),
  };
}

/** Opens a file that a store's `create` made, for writing from another thread. */
export async function openFileSink(path: string): Promise<ByteSink> {
  const { descriptor, size } = opened(path, 'r+');
  return sink(path, descriptor, size);
}

/** What lies at a path, or undefined when there is nothing. */
export async function statPath(path: string): Promise<{ size: number; kind: 'file' | 'folder' } | undefined> {
  const stat = guarded(path, 'look at', () => fs.statSync(path, { throwIfNoEntry: false }));
  return stat && { size: stat.size, kind: stat.isDirectory() ? 'folder' : 'file' };
}

/** The folder of a path and the name in it. */
export function splitPath(path: string): { folder: string; name: string } {
  return { folder: dirname(resolve(path)), name: basename(path) };
}

/** Folder by folder: where a file system makes no folder (/proc), Node's own recursive way does not come back. */
function makeFolder(path: string): void {
  if (fs.existsSync(path)) return;
  makeFolder(dirname(path));
  try {
    fs.mkdirSync(path);
  } catch (error) {
    // Somebody else was faster.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/** A folder on disk as a store. The folder is made when the first file is. */
export function diskStore(folder: string): Store {
  const at = (name: string) => join(folder, ...segmentsOf(name));
  const makeRoom = (path: string) => guarded(path, 'create', () => makeFolder(dirname(path)));
  return {
    name: folder,
    async list(inside) {
      const names = listFiles(inside === undefined ? folder : at(inside));
      return inside === undefined ? names : names.map((name) => `${inside}/${name}`);
    },
    async stat(name) {
      return statPath(at(name));
    },
    async open(name) {
      return openFile(at(name));
    },
    async create(name, size) {
      const path = at(name);
      makeRoom(path);
      // 'a' creates without truncating; what is there stays and 'r+' then allows positional writes.
      guarded(path, 'create', () => fs.closeSync(fs.openSync(path, 'a')));
      const { descriptor } = opened(path, 'r+');
      guarded(path, 'reserve space for', () => fs.ftruncateSync(descriptor, size));
      return sink(path, descriptor, size);
    },
    async append(name, bytes) {
      const path = at(name);
      makeRoom(path);
      guarded(path, 'write', () => fs.appendFileSync(path, bytes));
    },
    async claim(name, bytes) {
      const path = at(name);
      makeRoom(path);
      try {
        fs.writeFileSync(path, bytes, { flag: 'wx' });
        return true;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
        throw fileError(error, path, 'create');
      }
    },
    path(name) {
      return realPath(at(name));
    },
    async rename(from, to) {
      const path = at(to);
      makeRoom(path);
      guarded(at(from), 'rename', () => fs.renameSync(at(from), path));
    },
    async remove(name) {
      const path = at(name);
      guarded(path, 'remove', () => fs.rmSync(path, { recursive: true, force: true }));
    },
    async free() {
      let nearest = resolve(folder);
      while (!fs.existsSync(nearest) && dirname(nearest) !== nearest) nearest = dirname(nearest);
      const { bavail, bsize } = guarded(nearest, 'look at', () => fs.statfsSync(nearest));
      return bavail * bsize;
    },
  };
}

function sink(path: string, descriptor: number, size: number): ByteSink {
  return {
    name: path,
    size,
    handle: { kind: 'file', path: resolve(path) },
    async write(bytes, offset) {
      checkRange(path, size, offset, bytes.length);
      await transfer(writePart, descriptor, bytes, offset, path);
    },
    async readInto(target, offset) {
      checkRange(path, size, offset, target.length);
      await transfer(readPart, descriptor, target, offset, path);
    },
    async flush() {
      guarded(path, 'write', () => fs.fdatasyncSync(descriptor));
    },
    close: closeOnce(path, descriptor),
  };
}

interface Part {
  readonly verb: string;
  readonly sync: (descriptor: number, bytes: Uint8Array, position: number) => number;
  readonly async: (descriptor: number, bytes: Uint8Array, position: number) => Promise<number>;
}

const readAsync = promisify(fs.read) as unknown as Call<{ bytesRead: number }>;
const writeAsync = promisify(fs.write) as unknown as Call<{ bytesWritten: number }>;
type Call<T> = (descriptor: number, bytes: Uint8Array, from: number, length: number, position: number) => Promise<T>;

const readPart: Part = {
  verb: 'read',
  sync: (descriptor, bytes, position) => fs.readSync(descriptor, bytes, 0, bytes.length, position),
  async: async (descriptor, bytes, position) => (await readAsync(descriptor, bytes, 0, bytes.length, position)).bytesRead,
};
const writePart: Part = {
  verb: 'write',
  sync: (descriptor, bytes, position) => fs.writeSync(descriptor, bytes, 0, bytes.length, position),
  async: async (descriptor, bytes, position) => (await writeAsync(descriptor, bytes, 0, bytes.length, position)).bytesWritten,
};

/**
 * Moves all of `bytes`, as many calls as it takes: one call may move fewer bytes than asked for. A worker has nothing else to
 * do meanwhile and calls synchronously, which also keeps WebAssembly memory from growing away under a pending read.
 */
async function transfer({ verb, sync, async }: Part, descriptor: number, bytes: Uint8Array, offset: number, path: string) {
  for (let at = 0; at < bytes.length; ) {
    const part = bytes.subarray(at, at + CALL_BYTES);
    let moved: number;
    try {
      moved = isMainThread ? await async(descriptor, part, offset + at) : sync(descriptor, part, offset + at);
    } catch (error) {
      throw fileError(error, path, verb);
    }
    if (moved === 0)
      throw new FileError({ what: 'the file became shorter while it was used', where: path, value: `end at ${offset + at}` });
    at += moved;
  }
}

function opened(path: string, flags: 'r' | 'r+'): { descriptor: number; size: number } {
  // Opening a pipe waits for its other end, maybe for ever: O_NONBLOCK opens it at once, to be refused as no plain file.
  const mode = (flags === 'r' ? fs.constants.O_RDONLY : fs.constants.O_RDWR) | (fs.constants.O_NONBLOCK ?? 0);
  const descriptor = guarded(path, 'open', () => fs.openSync(path, mode));
  const stat = guarded(path, 'look at', () => fs.fstatSync(descriptor));
  if (stat.isFile()) return { descriptor, size: stat.size };
  fs.closeSync(descriptor);
  throw new FileError({ what: 'not a plain file', where: path, next: advice['EISDIR']! });
}

/** The absolute path without links; of a file that is not there the links of its folder are followed. */
function realPath(path: string): string {
  const absolute = resolve(path);
  try {
    return fs.realpathSync(absolute);
  } catch {
    const folder = dirname(absolute);
    return folder === absolute ? absolute : join(realPath(folder), basename(absolute));
  }
}

/** Closes once: the system gives the number of a closed file to the next one that is opened. */
function closeOnce(path: string, descriptor: number): () => Promise<void> {
  let open = true;
  return async () => {
    if (open) guarded(path, 'close', () => fs.closeSync(descriptor));
    open = false;
  };
}

/**
 * Names of the files below a folder, sorted, with `/` on every platform. A link to a file counts (model hubs keep their cache
 * as links); a link to a folder is not followed, so that a circle of links ends.
 */
function listFiles(folder: string): string[] {
  const names: string[] = [];
  const visit = (prefix: string) => {
    for (const entry of guarded(folder, 'list', () => fs.readdirSync(join(folder, prefix), { withFileTypes: true }))) {
      const name = prefix + entry.name;
      if (entry.isDirectory()) visit(`${name}/`);
      else if (entry.isFile() || isLinkToFile(join(folder, name))) names.push(name);
      if (names.length > MAX_LISTED_FILES)
        throw new LimitError({
          what: 'folder holds too many files to be a model',
          where: folder,
          limit: MAX_LISTED_FILES,
          next: 'give the model folder itself',
        });
    }
  };
  if (fs.existsSync(folder)) visit('');
  return names.sort();
}

function isLinkToFile(path: string): boolean {
  return fs.statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

function guarded<T>(path: string, verb: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw fileError(error, path, verb);
  }
}

/** Turns an error of the system into one that names the file and says what to do. */
function fileError(error: unknown, path: string, verb: string): FileError {
  if (error instanceof FileError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  const next = advice[code ?? ''];
  const what = code === 'ENOENT' ? 'no such file or folder' : `cannot ${verb} this file (${code ?? message})`;
  return new FileError({ what, where: path, ...(next ? { next } : {}) });
}
