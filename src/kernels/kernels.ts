/**
 * The WebAssembly kernels' TypeScript face. One instance a thread, each with a memory of its own (no SharedArrayBuffer, so it
 * also runs on pages without COOP/COEP headers). Memory is a bump arena: `alloc`, work, `reset`.
 *
 * Calling convention of the exported functions (pointers are byte offsets, aligned to 16):
 *   encode_<type>(x: f32[rows, cols], out: bytes, rows, cols, weights: f32[cols] or 0)   weights = importance matrix row
 *   search_<type>: the same arguments, ggml's layout with values of our own (docs/ggml-search.md)
 *   decode_<type>(blocks: bytes, out: f32[n], n)                                         n = number of values
 */
import { LimitError } from '../errors.ts';
import { wasm } from './generated/wasm.ts';

type Exports = WebAssembly.Exports & { memory: WebAssembly.Memory; heap_base(): number };
type KernelFunction = (...args: number[]) => number;

let compiled: Promise<WebAssembly.Module> | undefined;

/** Compiles once a thread, instantiates anew on each call. */
export async function loadKernels(): Promise<Kernels> {
  compiled ??= WebAssembly.compile(Uint8Array.from(atob(wasm), (c) => c.charCodeAt(0)));
  const instance = await WebAssembly.instantiate(await compiled, {
    env: {
      abort: () => {
        throw new LimitError('a kernel gave up');
      },
    },
  });
  return new Kernels(instance.exports as Exports);
}

export class Kernels {
  readonly #exports: Exports;
  readonly #base: number;
  #top: number;

  constructor(exports: Exports) {
    this.#exports = exports;
    this.#base = align(exports.heap_base());
    this.#top = this.#base;
  }

  /** Reserves `bytes` (aligned to 16); what is there is undefined. Views made before may be detached by growth: make them after. */
  alloc(bytes: number): number {
    const at = this.#top;
    const end = align(at + bytes);
    const { memory } = this.#exports;
    if (end > memory.buffer.byteLength) {
      try {
        memory.grow(Math.ceil((end - memory.buffer.byteLength) / 65536));
      } catch {
        throw new LimitError({ what: 'the kernels ran out of memory', value: end, limit: 2 ** 32, next: 'use smaller tiles' });
      }
    }
    this.#top = end;
    return at;
  }

  /** Where the arena stands; `reset(mark)` frees what was reserved since. */
  mark(): number {
    return this.#top;
  }

  reset(mark: number = this.#base): void {
    this.#top = mark;
  }

  bytes(at: number, length: number): Uint8Array {
    return new Uint8Array(this.#exports.memory.buffer, at, length);
  }

  f32(at: number, length: number): Float32Array {
    return new Float32Array(this.#exports.memory.buffer, at, length);
  }

  f64(at: number, length: number): Float64Array {
    return new Float64Array(this.#exports.memory.buffer, at, length);
  }

  i16(at: number, length: number): Int16Array {
    return new Int16Array(this.#exports.memory.buffer, at, length);
  }

  /** Reserves room for a copy of `data` and gives its address. */
  put(data: Float32Array | Float64Array | Int16Array | Uint8Array): number {
    const at = this.alloc(data.byteLength);
    this.bytes(at, data.byteLength).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    return at;
  }

  has(name: string): boolean {
    return typeof this.#exports[name] === 'function';
  }

  call(name: string, ...args: number[]): number {
    const f = this.#exports[name];
    if (typeof f !== 'function') throw new LimitError(`there is no kernel ${name}`);
    return (f as KernelFunction)(...args);
  }
}

/** Not by bits: those of JavaScript are signed, and addresses reach past 2^31. */
function align(at: number): number {
  return Math.ceil(at / 16) * 16;
}
