import { openSink, openSource } from '../io/index.ts';
import type { ByteSink, ByteSource, SinkHandle, SourceHandle } from '../io/types.ts';
import { loadKernels } from '../kernels/index.ts';
import type { TileTools } from './tile.ts';

/** Kernels and open files of one owner, who closes them. Files stay open until then. */
export interface OwnedTools extends TileTools {
  close(): Promise<void>;
}

export async function tileTools(): Promise<OwnedTools> {
  const sources = new OpenFiles<SourceHandle, ByteSource>(openSource);
  const sinks = new OpenFiles<SinkHandle, ByteSink>(openSink);
  return {
    kernels: await loadKernels(),
    open: (handle) => sources.get(handle),
    sink: (handle) => sinks.get(handle),
    async close() {
      await sources.close();
      await sinks.close();
    },
  };
}

class OpenFiles<H extends SourceHandle | SinkHandle, T extends { close(): Promise<void> }> {
  readonly #open = new Map<string, Promise<T>>();
  readonly #make: (handle: H) => Promise<T>;

  constructor(make: (handle: H) => Promise<T>) {
    this.#make = make;
  }

  /** Handles that hold their bytes are opened each time: they are as cheap as a key would be. */
  get(handle: H): Promise<T> {
    const key = handle.kind === 'file' ? handle.path : handle.kind === 'url' ? handle.url : undefined;
    if (key === undefined) return this.#make(handle);
    const found = this.#open.get(key) ?? this.#make(handle);
    this.#open.set(key, found);
    found.catch(() => this.#open.delete(key)); // a file that could not be opened may be there next time
    return found;
  }

  async close(): Promise<void> {
    const files = await Promise.allSettled(this.#open.values());
    this.#open.clear();
    for (const file of files) if (file.status === 'fulfilled') await file.value.close();
  }
}
