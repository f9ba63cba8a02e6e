import { diskStore, splitPath, statPath } from '#io/disk';
import { FileError, FormatError, ModelError } from '../errors.ts';
import { read } from '../io/range.ts';
import type { ByteSource, Store } from '../io/types.ts';
import { openBag } from './bag.ts';
import { type Folder, storeFolder, urlFolder } from './folder.ts';
import { openGguf } from './gguf/split.ts';
import { filesOfHubPage } from './hub.ts';
import { openHuggingFace } from './huggingface.ts';
import type { Checkpoint } from './types.ts';

/**
 * Where a model lies: a path or http(s) URL of a folder or file; a name in a store (the empty name, or none: the store itself is
 * the folder); or bytes that are open already, such as a file dropped on a page.
 */
export type Location = string | { readonly store: Store; readonly name?: string } | { readonly source: ByteSource };

/** Files that stand for the folder they lie in. */
const folderFiles: ReadonlySet<string> = new Set(['config.json', 'model.safetensors.index.json']);
const webAddress = /^https?:\/\//i;
/**
 * Opens a model or a bag of tensors, whatever its container: only headers are read.
 * @throws FileError when there is nothing, ModelError when it is no model, FormatError when it is damaged.
 */
export async function openCheckpoint(location: Location): Promise<Checkpoint> {
  if (typeof location === 'string') return webAddress.test(location) ? openWeb(location) : openPath(location);
  if ('source' in location) return openFileOf(location.source, location.source.name, location.source.name);
  const { store, name = '' } = location;
  if (name === '') return openHuggingFace(storeFolder(store));
  const found = await store.stat(name);
  if (!found) throw missing(`${store.name}/${name}`);
  return openIn(store, name, found.kind, `${store.name}/${name}`);
}

async function openPath(path: string): Promise<Checkpoint> {
  const found = await statPath(path);
  if (!found) throw missing(path);
  const { folder, name } = splitPath(path);
  return found.kind === 'folder' ? openHuggingFace(storeFolder(diskStore(path))) : openIn(diskStore(folder), name, 'file', path);
}

async function openIn(store: Store, name: string, kind: 'file' | 'folder', label: string): Promise<Checkpoint> {
  if (kind === 'folder') return openHuggingFace(storeFolder(store, name));
  const slash = name.lastIndexOf('/');
  const folder = storeFolder(store, slash < 0 ? '' : name.slice(0, slash));
  return openNamed(folder, name.slice(slash + 1), label);
}

async function openWeb(address: string): Promise<Checkpoint> {
  const { url, name } = parsed(address);
  if (!/\.(gguf|safetensors|json)$/.test(name)) return { ...(await openHuggingFace(urlFolder(url.href))), name: address };
  const base = urlFolder(new URL('.', url).href);
  // Siblings of a split file lie beside it, under the same query (a signed address has one).
  const folder: Folder = { ...base, open: (file, small) => base.open(encodeURIComponent(file) + url.search, small) };
  return openNamed(folder, name, address);
}

/** The address of the files and the name at its end. */
function parsed(address: string): { url: URL; name: string } {
  try {
    const url = new URL(filesOfHubPage(address));
    return { url, name: decodeURIComponent(url.pathname.split('/').at(-1) ?? '') };
  } catch {
    throw new FileError({ what: 'not an address', where: address, next: 'check its spelling' });
  }
}

/** Opens one file of a folder; its siblings are at hand when it is one of several. */
async function openNamed(folder: Folder, name: string, label: string): Promise<Checkpoint> {
  if (folderFiles.has(name)) return openHuggingFace(folder);
  return openFileOf(await folder.open(name), name, label, (sibling) => folder.open(sibling));
}

/** Decides by the first bytes what a file is. */
async function openFileOf(
  source: ByteSource,
  name: string,
  label: string,
  sibling?: (name: string) => Promise<ByteSource>,
): Promise<Checkpoint> {
  try {
    const head = await read(source, 0, Math.min(source.size, 9));
    const magic = String.fromCharCode(...head.subarray(0, 4));
    if (magic === 'GGUF' || name.endsWith('.gguf')) {
      const { metadata, tensors, sources } = await openGguf(source, name, sibling);
      const close = async () => {
        for (const one of sources) await one.close();
      };
      return { kind: 'gguf', name: label, tensors, gguf: metadata, sidecars: [], close };
    }
    // A safetensors header follows its length and is a JSON object.
    if (name.endsWith('.safetensors') || head[8] === 0x7b) return await openBag(source, label);
    throw unknown(label, magic);
  } catch (error) {
    await source.close();
    throw error;
  }
}

function missing(path: string): FileError {
  return new FileError({ what: 'no such file or folder', where: path, next: 'check the path' });
}

/** PyTorch writes a zip archive of pickles, older versions a bare pickle: protocol opcode 0x80. */
function unknown(where: string, magic: string): Error {
  if (magic.startsWith('PK') || magic.startsWith('\u0080'))
    return new ModelError({
      what: 'a pickle is never read, because reading one runs the code in it',
      where,
      next: 'use the safetensors version of the model',
    });
  return new FormatError({
    what: 'neither GGUF nor safetensors',
    where,
    next: 'give a model folder, a .gguf or a .safetensors file',
  });
}
