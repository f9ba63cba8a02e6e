import { FileError, LimitError } from '../errors.ts';
import { MAX_READ_BYTES } from './limits.ts';
import type { ByteSource } from './types.ts';

/**
 * Checks that [offset, offset + length) are bytes of something of `size` bytes.
 * @throws FileError when they are not.
 */
export function checkRange(name: string, size: number, offset: number, length: number): void {
  const whole = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
  if (whole && length <= size - offset) return;
  throw new FileError({
    what: 'bytes outside the file were asked for',
    where: name,
    value: `${length} bytes from ${offset}`,
    limit: `${size} bytes`,
    next: 'the file is truncated or damaged: fetch it again',
  });
}

/**
 * Allocates and fills `length` bytes from `offset`; the range is checked before anything is allocated.
 * @throws FileError when the range is not inside the source, LimitError past MAX_READ_BYTES.
 */
export async function read(source: ByteSource, offset: number, length: number): Promise<Uint8Array> {
  checkRange(source.name, source.size, offset, length);
  if (length > MAX_READ_BYTES)
    throw new LimitError({
      what: 'too many bytes for one read',
      where: source.name,
      value: length,
      limit: MAX_READ_BYTES,
      next: 'read it in rows',
    });
  const bytes = new Uint8Array(length);
  await source.readInto(bytes, offset);
  return bytes;
}
