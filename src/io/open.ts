import { openFile, openFileSink } from '#io/disk';
import { blobSource } from './blob.ts';
import { memorySink, memorySource } from './memory.ts';
import type { ByteSink, ByteSource, SinkHandle, SourceHandle } from './types.ts';
import { openUrl } from './url.ts';

/** Opens, in a worker, the bytes whose source lives in another thread. */
export async function openSource(handle: SourceHandle): Promise<ByteSource> {
  switch (handle.kind) {
    case 'file':
      return openFile(handle.path);
    case 'memory':
      return memorySource(handle.bytes);
    case 'blob':
      return blobSource(handle.blob);
    case 'url':
      return openUrl(handle.url, { size: handle.size });
  }
}

/** Opens, in a worker, the output that another thread created. */
export async function openSink(handle: SinkHandle): Promise<ByteSink> {
  return handle.kind === 'file' ? openFileSink(handle.path) : memorySink(handle.bytes);
}
