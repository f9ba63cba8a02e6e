import { FormatError, LimitError } from '../../errors.ts';
import { read } from '../../io/range.ts';
import type { ByteSource } from '../../io/types.ts';
import { MAX_HEADER_BYTES } from './limits.ts';

/** First window: most headers without a large vocabulary fit. */
const FIRST_WINDOW_BYTES = 65_536;
/** A window doubles up to this size, so that reading ahead stays a bounded waste. */
const LARGEST_WINDOW_BYTES = 4_194_304;

/**
 * Reads a header front to back through a window that moves over the source. `reserve` makes sure that the next bytes are in the
 * window; after it the getters read without waiting. A header with 262,144 tokens then waits a few times and not once a token.
 */
export class Cursor {
  readonly source: ByteSource;
  /** Where messages place an error; set by the caller as it goes. */
  what = 'header';
  #window: Uint8Array = new Uint8Array();
  #view = new DataView(this.#window.buffer);
  /** Position of the window in the source. */
  #start = 0;
  /** Next byte, inside the window. */
  #at = 0;

  constructor(source: ByteSource) {
    this.source = source;
  }

  get position(): number {
    return this.#start + this.#at;
  }

  /** Bytes between the position and the end of the source. */
  get left(): number {
    return this.source.size - this.position;
  }

  fail(what: string, value?: unknown, limit?: unknown, next?: string): FormatError {
    const where = `${this.source.name}: ${this.what} at byte ${this.position}`;
    return new FormatError({
      what,
      where,
      ...(value !== undefined && { value }),
      ...(limit !== undefined && { limit }),
      ...(next !== undefined && { next }),
    });
  }

  /** True when the next `bytes` bytes are in the window; otherwise `await reserve(bytes)` brings them. */
  has(bytes: number): boolean {
    return this.#window.length - this.#at >= bytes;
  }

  /** Brings the next `bytes` bytes into the window. */
  async reserve(bytes: number): Promise<void> {
    if (this.has(bytes)) return;
    if (bytes > this.left)
      throw this.fail('the file ends inside the header', `${bytes} bytes wanted`, `${this.left} left`, 'fetch the file again');
    if (this.position + bytes > MAX_HEADER_BYTES)
      throw new LimitError({
        what: 'header is too large',
        where: this.source.name,
        value: this.position + bytes,
        limit: MAX_HEADER_BYTES,
      });
    const larger = Math.min(Math.max(2 * this.#window.length, FIRST_WINDOW_BYTES), LARGEST_WINDOW_BYTES);
    this.#start = this.position;
    this.#at = 0;
    this.#window = await read(this.source, this.#start, Math.min(Math.max(bytes, larger), this.source.size - this.#start));
    this.#view = new DataView(this.#window.buffer);
  }

  /** A value of `bytes` bytes that `get` reads from a view; they must be reserved. */
  take<T>(bytes: number, get: (view: DataView, at: number) => T): T {
    const value = get(this.#view, this.#at);
    this.#at += bytes;
    return value;
  }

  /** The next `bytes` bytes, which must be reserved; valid until the next `reserve`. */
  bytes(bytes: number): Uint8Array {
    const taken = this.#window.subarray(this.#at, this.#at + bytes);
    this.#at += bytes;
    return taken;
  }

  u32(): number {
    return this.take(4, (view, at) => view.getUint32(at, true));
  }

  /**
   * A u64 that must be a number of at most 2^53 - 1: a length, count or offset.
   * @throws FormatError for larger ones.
   */
  u64(what: string): number {
    // Two halves: a bigint for each length of a large vocabulary costs more than the rest of its string.
    const [low, high] = [this.u32(), this.u32()];
    const value = high * 2 ** 32 + low;
    if (value > Number.MAX_SAFE_INTEGER)
      throw this.fail(`${what} is past 2^53 - 1`, (BigInt(high) << 32n) + BigInt(low), Number.MAX_SAFE_INTEGER);
    return value;
  }

  /**
   * A u64 that counts items of at least `itemBytes` bytes each.
   * @throws FormatError when they cannot fit in what is left of the file, LimitError past `limit`.
   */
  count(what: string, itemBytes: number, limit: number): number {
    const count = this.u64(what);
    if (count > this.left / itemBytes) throw this.fail(`${what} cannot fit in the file`, count, `${this.left} bytes left`);
    if (count > limit)
      throw new LimitError({ what: `${what} is too large`, where: `${this.source.name}: ${this.what}`, value: count, limit });
    return count;
  }
}
