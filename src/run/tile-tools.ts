import { openSink, openSource } from '../io/index.ts';
import type { ByteSink, ByteSource, SinkHandle, SourceHandle } from '../io/types.ts';
import { loadKernels } from '../kernels/index.ts';
import type { TileTools } from './tile.ts';

/** Kernels and open files of one thread. Files stay open until the thread ends. */
export async function tileTools(): Promise<TileTools> {
  const sources = new Map<string, Promise<ByteSource>>();
  const sinks = new Map<string, Promise<ByteSink>>();
  return {
    kernels: await loadKernels(),
    open: (handle) => cached(sources, handle, openSource),
    sink: (handle) => cached(sinks, handle, openSink),
  };
}

/** Handles that hold their bytes are opened each time: they are as cheap as a key would be. */
function cached<H extends SourceHandle | SinkHandle, T>(
  open: Map<string, Promise<T>>,
  handle: H,
  make: (handle: H) => Promise<T>,
): Promise<T> {
  const key = handle.kind === 'file' ? handle.path : handle.kind === 'url' ? handle.url : undefined;
  if (key === undefined) return make(handle);
  const found = open.get(key) ?? make(handle);
  open.set(key, found);
  return found;
}
