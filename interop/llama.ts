/** Models in the real llama.cpp: perplexity, logits, greedy generation, tokenization, on the CPU. */
import { logSumExp } from './divergence.ts';
import type { Pointer } from './koffi.ts';
import { type Library, openLibrary } from './library.ts';

/** Tokens in one call of the compute graph, llama.cpp's default. */
const microBatch = 512;
/** Tokens in one llama_decode. */
const maxBatch = 2048;

export interface ContextOptions {
  threads?: number;
  /** F32 KV cache and no flash attention: what an f32 reference is compared with. llama.cpp's default is an F16 cache. */
  exact?: boolean;
}

export interface Perplexity {
  perplexity: number;
  /** Mean nats a scored token. */
  nll: number;
  standardError: number;
  /** Scored tokens. */
  tokens: number;
  chunks: number;
  seconds: number;
}

export interface Generation {
  prompt: Int32Array;
  tokens: number[];
  /** Prompt and continuation, as llama.cpp turns the ids back into text. */
  text: string;
}

export interface Sequences {
  /** [tokens, vocabSize], of at most `size` tokens; the next call overwrites it. */
  logits(tokens: Int32Array): Float32Array;
  close(): void;
}

export class LlamaModel {
  readonly vocabSize: number;
  readonly addsBos: boolean;
  readonly bos: number;
  readonly #library: Library;
  readonly #model: Pointer;
  readonly #vocabulary: Pointer;

  constructor(file: string) {
    this.#library = openLibrary();
    this.#model = this.#library.loadModel(file, { ...this.#library.modelDefaults(), n_gpu_layers: 0 });
    if (this.#model === null) throw new Error(`llama.cpp cannot load ${file} (set FEWBITS_LLAMA_LOG=1 to see why)`);
    this.#vocabulary = this.#library.vocabulary(this.#model);
    this.vocabSize = this.#library.vocabSize(this.#vocabulary);
    this.addsBos = this.#library.addsBos(this.#vocabulary);
    this.bos = this.#library.bos(this.#vocabulary);
  }

  /** `special`: BOS and EOS are added as the file asks; `parse`: `<s>` in the text becomes the control token. */
  tokenize(text: string, { special = true, parse = false } = {}): Int32Array {
    const bytes = new TextEncoder().encode(text);
    const call = (out: Int32Array | null): number =>
      this.#library.tokenize(this.#vocabulary, bytes, bytes.length, out, out?.length ?? 0, special, parse);
    const tokens = new Int32Array(Math.abs(call(null)));
    if (tokens.length > 0) call(tokens);
    return tokens;
  }

  detokenize(tokens: ArrayLike<number>): string {
    const ids = Int32Array.from(tokens);
    const call = (out: Uint8Array): number =>
      this.#library.detokenize(this.#vocabulary, ids, ids.length, out, out.length, false, false);
    let bytes = new Uint8Array(ids.length * 16 + 64);
    let length = call(bytes);
    if (length < 0) {
      bytes = new Uint8Array(-length);
      length = call(bytes);
    }
    return new TextDecoder().decode(bytes.subarray(0, length));
  }

  /** [tokens, vocabSize] */
  logits(tokens: Int32Array, options: ContextOptions = {}): Float32Array {
    return this.#withContext(tokens.length, options, (context) => context.decode(tokens, () => true).slice());
  }

  /** For many sequences: one context serves them all, each starts with an empty cache. */
  sequences(size: number, options: ContextOptions = {}): Sequences {
    const context = new Context(this.#library, this.#model, this.vocabSize, size, options);
    return {
      logits: (tokens) => {
        context.clear();
        return context.decode(tokens, () => true);
      },
      close: () => context.close(),
    };
  }

  /** Greedy continuation, at most `count` tokens, ended by an end-of-generation token. */
  generate(prompt: string, count: number, options: ContextOptions = {}): Generation {
    const ids = this.tokenize(prompt);
    return this.#withContext(ids.length + count, options, (context) => {
      const tokens: number[] = [];
      let row = context.decode(ids, (i) => i === ids.length - 1);
      while (tokens.length < count) {
        const best = argmax(row);
        if (this.#library.endsGeneration(this.#vocabulary, best)) break;
        tokens.push(best);
        if (tokens.length < count) row = context.decode(Int32Array.of(best), () => true);
      }
      return { prompt: ids, tokens, text: this.detokenize([...ids, ...tokens]) };
    });
  }

  /**
   * As llama-perplexity: the text is tokenized once and cut into chunks of `size`; the first token of a chunk is replaced by BOS
   * where the model wants one; positions size/2 .. size-2 are scored on the token after them.
   */
  perplexity(text: string, size: number, options: ContextOptions = {}): Perplexity {
    const tokens = this.tokenize(text);
    const chunks = Math.floor(tokens.length / size);
    if (chunks === 0) throw new Error(`the text has ${tokens.length} tokens, one chunk needs ${size}`);
    const first = size >> 1;
    const scored = (i: number): boolean => i >= first && i < size - 1;
    const start = performance.now();
    let [sum, squares, count] = [0, 0, 0];
    this.#withContext(size, options, (context) => {
      for (let chunk = 0; chunk < chunks; chunk++) {
        const targets = tokens.subarray(chunk * size, (chunk + 1) * size);
        const input = targets.slice();
        if (this.addsBos) input[0] = this.bos;
        context.clear();
        for (let from = 0; from < size; from += maxBatch) {
          const rows = context.decode(input.subarray(from, from + maxBatch), (i) => scored(from + i));
          const base = Math.max(first, from);
          for (let at = 0; at * this.vocabSize < rows.length; at++) {
            const row = rows.subarray(at * this.vocabSize, (at + 1) * this.vocabSize);
            const nll = logSumExp(row) - row[targets[base + at + 1]!]!;
            sum += nll;
            squares += nll * nll;
            count++;
          }
        }
      }
    });
    const nll = sum / count;
    const deviation = Math.sqrt(Math.max(0, squares / count - nll * nll) / (count - 1));
    const seconds = (performance.now() - start) / 1000;
    return { perplexity: Math.exp(nll), nll, standardError: Math.exp(nll) * deviation, tokens: count, chunks, seconds };
  }

  close(): void {
    this.#library.freeModel(this.#model);
  }

  #withContext<T>(size: number, options: ContextOptions, use: (context: Context) => T): T {
    const context = new Context(this.#library, this.#model, this.vocabSize, size, options);
    try {
      return use(context);
    } finally {
      context.close();
    }
  }
}

/** One sequence and its KV cache. */
class Context {
  readonly #library: Library;
  readonly #context: Pointer;
  readonly #vocabSize: number;
  /** Native arrays of one batch: ids, and a flag for each position whose logits are wanted. */
  readonly #token: bigint;
  readonly #wanted: bigint;

  constructor(library: Library, model: Pointer, vocabSize: number, size: number, { threads = 2, exact = false }: ContextOptions) {
    const batch = Math.min(size, maxBatch);
    this.#library = library;
    this.#vocabSize = vocabSize;
    this.#context = library.newContext(model, {
      ...library.contextDefaults(),
      n_ctx: size,
      n_batch: batch,
      n_ubatch: Math.min(batch, microBatch),
      n_seq_max: 1,
      n_threads: threads,
      n_threads_batch: threads,
      no_perf: true,
      // GGML_TYPE_F32, LLAMA_FLASH_ATTN_TYPE_DISABLED
      ...(exact ? { type_k: 0, type_v: 0, flash_attn_type: 0 } : {}),
    });
    if (this.#context === null) throw new Error(`llama.cpp cannot make a context of ${size} tokens`);
    this.#token = library.koffi.alloc('int32', batch);
    this.#wanted = library.koffi.alloc('int8', batch);
  }

  /**
   * Runs `tokens` after those already in the cache; returns the logits of the wanted positions, [wanted, vocabSize], as a view
   * that the next call overwrites.
   */
  decode(tokens: Int32Array, want: (position: number) => boolean): Float32Array {
    const { koffi } = this.#library;
    const count = tokens.length;
    new Int32Array(koffi.view(this.#token, 4 * count)).set(tokens);
    const flags = Int8Array.from(tokens, (_, i) => (want(i) ? 1 : 0));
    new Int8Array(koffi.view(this.#wanted, count)).set(flags);
    // Without positions and sequence ids, tokens continue sequence 0.
    const none = { embd: null, pos: null, n_seq_id: null, seq_id: null };
    const code = this.#library.decode(this.#context, { ...none, n_tokens: count, token: this.#token, logits: this.#wanted });
    if (code !== 0) throw new Error(`llama_decode gave ${code}`);
    const rows = flags.reduce((sum, flag) => sum + flag, 0);
    if (rows === 0) return new Float32Array(0);
    return new Float32Array(koffi.view(this.#library.logits(this.#context), 4 * rows * this.#vocabSize));
  }

  clear(): void {
    this.#library.clearMemory(this.#library.memory(this.#context), true);
  }

  close(): void {
    this.#library.freeContext(this.#context);
    this.#library.koffi.free(this.#token);
    this.#library.koffi.free(this.#wanted);
  }
}

function argmax(row: Float32Array): number {
  let best = 0;
  for (let i = 1; i < row.length; i++) if (row[i]! > row[best]!) best = i;
  return best;
}
