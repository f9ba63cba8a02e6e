/** Bytes that grow at their end: a header being written. Little-endian. */
export class ByteWriter {
  #bytes = new Uint8Array(4096);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  /** Appends `size` bytes that `set` writes through a view. */
  put(size: number, set: (view: DataView, at: number) => void): void {
    this.#grow(size);
    set(this.#view, this.#length);
    this.#length += size;
  }

  raw(bytes: Uint8Array): void {
    this.#grow(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  u32(value: number): void {
    this.put(4, (view, at) => view.setUint32(at, value, true));
  }

  u64(value: number): void {
    this.put(8, (view, at) => view.setBigUint64(at, BigInt(value), true));
  }

  /** A length and the text as UTF-8, or bytes as they are. Returns the number of bytes after the length. */
  string(text: string | Uint8Array): number {
    const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text;
    this.u64(bytes.length);
    this.raw(bytes);
    return bytes.length;
  }

  /** Zeros up to a multiple of `alignment`. */
  pad(alignment: number): void {
    this.raw(new Uint8Array((alignment - (this.#length % alignment)) % alignment));
  }

  done(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  #grow(by: number): void {
    if (this.#length + by <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(2 * this.#bytes.length, this.#length + by));
    larger.set(this.#bytes);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}
