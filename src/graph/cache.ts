/** Keys and values of the positions so far, grown at the end, so that what the graph reads is one contiguous piece. */
import type { ModelSpec } from '../model/types.ts';
import type { GraphTensor } from './types.ts';

export const kinds = ['key', 'value'] as const;
const firstCapacity = 64;

/** What a decoder keeps of the positions before. */
export interface Cache {
  /** Positions held. */
  readonly length: number;
  /** Bytes that they take. */
  readonly bytes: number;
  /** So many positions may be computed together before `append`. */
  readonly room: number;
  /** The inputs of the graph that hold them. */
  feeds(): Record<string, GraphTensor>;
  /** Takes the graph's outputs `new.N.key` and `new.N.value`, each [positions, batch, kvHeads, headDim]. */
  append(outputs: Record<string, GraphTensor>, positions: number): void;
}

export class KeyValueCache implements Cache {
  readonly room = Number.POSITIVE_INFINITY;
  readonly #dims: readonly [batch: number, kvHeads: number, headDim: number];
  /** 'N.key' and 'N.value' of each layer, [capacity, batch, kvHeads, headDim]. */
  readonly #buffers = new Map<string, Float32Array>();
  #capacity = firstCapacity;
  #length = 0;

  constructor(spec: ModelSpec, batch: number) {
    this.#dims = [batch, spec.kvHeads, spec.headDim];
    for (let layer = 0; layer < spec.layers; layer++)
      for (const kind of kinds) this.#buffers.set(`${layer}.${kind}`, new Float32Array(this.#capacity * this.#stride));
  }

  get length(): number {
    return this.#length;
  }

  get bytes(): number {
    return this.#buffers.size * this.#length * this.#stride * 4;
  }

  /** The graph's inputs `past.N.key` and `past.N.value`, views of the cache. */
  feeds(): Record<string, GraphTensor> {
    const dims = [this.#length, ...this.#dims];
    const view = (buffer: Float32Array) => buffer.subarray(0, this.#length * this.#stride);
    return Object.fromEntries(
      [...this.#buffers].map(([name, buffer]) => [`past.${name}`, { type: 'f32' as const, dims, data: view(buffer) }]),
    );
  }

  /** Appends the graph's outputs `new.N.key` and `new.N.value`, each [positions, batch, kvHeads, headDim]. */
  append(outputs: Record<string, GraphTensor>, positions: number): void {
    this.#reserve(this.#length + positions);
    for (const [name, buffer] of this.#buffers) {
      const { data } = outputs[`new.${name}`]!;
      buffer.set(data as Float32Array, this.#length * this.#stride);
    }
    this.#length += positions;
  }

  /** Values a position. */
  get #stride(): number {
    return this.#dims.reduce((n, d) => n * d, 1);
  }

  #reserve(positions: number): void {
    if (positions <= this.#capacity) return;
    this.#capacity = Math.max(positions, 2 * this.#capacity);
    for (const [name, old] of this.#buffers) {
      const grown = new Float32Array(this.#capacity * this.#stride);
      grown.set(old);
      this.#buffers.set(name, grown);
    }
  }
}
