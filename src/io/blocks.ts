/**
 * Read-ahead for sources where each request is slow: small reads are served from aligned blocks that are kept, least recently
 * used first out; large reads go past the cache straight into their target.
 */

/** Bytes of a block: one request brings a whole tensor header, and a header of ten megabytes takes ten. */
export const BLOCK_BYTES = 2 ** 20;
/** Blocks kept: bounds the memory of one source to 16 MiB. */
const BLOCKS_KEPT = 16;
/** Reads of more blocks than this are not worth keeping: tensor data is read once. */
const BLOCKS_WORTH_KEEPING = 2;

/** Fills `target` with the bytes from `offset`. */
export type Load = (target: Uint8Array, offset: number) => Promise<void>;

export class BlockCache {
  readonly #size: number;
  readonly #load: Load;
  /** Block number -> its bytes, in order of use; a promise so that two readers share one request. */
  readonly #blocks = new Map<number, Promise<Uint8Array>>();

  constructor(size: number, load: Load) {
    this.#size = size;
    this.#load = load;
  }

  /** Puts block 0 in place: the request that learns the size brings it along. */
  seed(bytes: Uint8Array): void {
    this.#blocks.set(0, Promise.resolve(bytes));
  }

  async readInto(target: Uint8Array, offset: number): Promise<void> {
    if (target.length > BLOCKS_WORTH_KEEPING * BLOCK_BYTES) return this.#load(target, offset);
    for (let at = 0; at < target.length; ) {
      const index = Math.floor((offset + at) / BLOCK_BYTES);
      const inside = offset + at - index * BLOCK_BYTES;
      const block = await this.#block(index);
      const part = block.subarray(inside, inside + target.length - at);
      target.set(part, at);
      at += part.length;
    }
  }

  clear(): void {
    this.#blocks.clear();
  }

  #block(index: number): Promise<Uint8Array> {
    const block = this.#blocks.get(index) ?? this.#fetch(index);
    this.#blocks.delete(index);
    this.#blocks.set(index, block);
    const [oldest] = this.#blocks.keys();
    if (this.#blocks.size > BLOCKS_KEPT && oldest !== undefined) this.#blocks.delete(oldest);
    return block;
  }

  async #fetch(index: number): Promise<Uint8Array> {
    const from = index * BLOCK_BYTES;
    const bytes = new Uint8Array(Math.min(BLOCK_BYTES, this.#size - from));
    try {
      await this.#load(bytes, from);
    } catch (error) {
      this.#blocks.delete(index);
      throw error;
    }
    return bytes;
  }
}
