import { fieldInMemory, rowsInMemory } from '../format/field-ranges.ts';
import type { Field, StoredTensor } from '../format/types.ts';
import type { SourceHandle } from '../io/types.ts';

/**
 * The part of a stored tensor that rows [from, to) need. Bytes that lie in memory would be copied whole with each message to a
 * worker: only those of the rows go along. Files, blobs and URLs are opened by the worker itself.
 */
export function tileSource(stored: StoredTensor, rows: readonly [number, number]): StoredTensor {
  const part = (field: Field): Field =>
    isCopied(field.handle) ? fieldInMemory(field, rowsInMemory(field.handle.bytes, field, rows), rows) : field;
  switch (stored.form) {
    case 'storage':
      return { ...stored, data: part(stored.data) };
    case 'tile':
      return { ...stored, fields: Object.fromEntries(Object.entries(stored.fields).map(([key, field]) => [key, part(field)])) };
    case 'values':
      return stored;
  }
}

/** Memory that threads share is not copied. */
function isCopied(handle: SourceHandle): handle is Extract<SourceHandle, { kind: 'memory' }> {
  return (
    handle.kind === 'memory' && !(typeof SharedArrayBuffer !== 'undefined' && handle.bytes.buffer instanceof SharedArrayBuffer)
  );
}
