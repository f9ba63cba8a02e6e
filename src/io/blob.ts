import { FileError } from '../errors.ts';
import { checkRange } from './range.ts';
import type { ByteSource, SourceHandle } from './types.ts';

/** Bytes taken from a Blob at a time: each slice is one more copy in memory, so slices stay small. */
const SLICE_BYTES = 2 ** 24;

/** A source over a Blob or a File that the user picked or dropped. `handle` is what a worker opens instead, if not the blob. */
export function blobSource(blob: Blob, name?: string, handle: SourceHandle = { kind: 'blob', blob }): ByteSource {
  const label = name ?? ('name' in blob && typeof blob.name === 'string' ? blob.name : 'blob');
  return {
    name: label,
    size: blob.size,
    handle,
    async readInto(target, offset) {
      checkRange(label, blob.size, offset, target.length);
      for (let at = 0; at < target.length; at += SLICE_BYTES) {
        const end = Math.min(at + SLICE_BYTES, target.length);
        target.set(await slice(blob, offset + at, offset + end, label), at);
      }
    },
    async close() {},
  };
}

/** A File whose bytes changed after it was picked cannot be read any more: the browser rejects the read. */
async function slice(blob: Blob, from: number, to: number, name: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await blob.slice(from, to).arrayBuffer());
  } catch (cause) {
    throw new FileError({
      what: 'the file changed or went away while it was read',
      where: name,
      value: String(cause),
      next: 'choose it again',
    });
  }
}
