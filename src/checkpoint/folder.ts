import { FileError } from '../errors.ts';
import type { ByteSource, Store } from '../io/types.ts';
import { openUrlIfThere } from '../io/url.ts';

/** A place with files by name, as far as opening a model needs it. */
export interface Folder {
  readonly name: string;
  /** Names at the top level that are there; a place that cannot be listed is asked for `candidates`. */
  names(candidates: readonly string[]): Promise<string[]>;
  /**
   * Opens a file.
   * @param small the file is small, so that a server without ranges may send it whole.
   * @throws FileError when it is not there.
   */
  open(name: string, small?: boolean): Promise<ByteSource>;
}

/** Bytes of a small file that a server without ranges may send whole. */
const MAX_WHOLE_BYTES = 2 ** 26;

/** A folder of a store; `prefix` is empty for its root. */
export function storeFolder(store: Store, prefix = ''): Folder {
  const root = prefix === '' ? '' : `${prefix}/`;
  return {
    name: prefix === '' ? store.name : `${store.name}/${prefix}`,
    async names() {
      const inside = (await store.list(prefix === '' ? undefined : prefix)).map((name) => name.slice(root.length));
      return inside.filter((name) => !name.includes('/'));
    },
    open: (name) => store.open(root + name),
  };
}

/** A folder on a web server. */
export function urlFolder(url: string): Folder {
  const base = url.endsWith('/') ? url : `${url}/`;
  // A probe brings the beginning of the file along: it is kept for the open that follows.
  const probed = new Map<string, ByteSource>();
  const probe = async (name: string, whole: number) => {
    const source = probed.get(name) ?? (await openUrlIfThere(new URL(name, base).href, { whole }));
    if (source) probed.set(name, source);
    return source;
  };
  return {
    name: url,
    async names(candidates) {
      const found = await Promise.all(candidates.map(async (name) => ((await probe(name, wholeLimit(name))) ? name : undefined)));
      return found.filter((name) => name !== undefined);
    },
    async open(name, small) {
      const source = await probe(name, small ? MAX_WHOLE_BYTES : 0);
      if (!source) throw new FileError({ what: 'no such file on the server', where: new URL(name, base).href });
      return source;
    },
  };
}

function wholeLimit(name: string): number {
  return name.endsWith('.safetensors') ? 0 : MAX_WHOLE_BYTES;
}
