import type { ModelSpec } from '../model/types.ts';
import type { KvScheme } from '../quantized/types.ts';

/** Weights by Hugging Face name, widened to f32, [out, in] row-major. */
export interface WeightReader {
  (name: string): Promise<Float32Array>;
  /** Some rows of a matrix, in the order asked for, [rows.length, cols]: an embedding need not be in memory as a whole. */
  rows?(name: string, rows: Int32Array): Promise<Float32Array>;
  /** Called when the language model that was given the reader is closed. */
  close?(): Promise<void>;
}

/** One runnable program. */
export interface GraphSession {
  readonly backend: 'native' | 'wasm';
  run(feeds: Record<string, GraphTensor>): Promise<Record<string, GraphTensor>>;
  close(): Promise<void>;
}
export interface GraphTensor {
  type: 'f32' | 'f16' | 'i64' | 'i32' | 'u8' | 'bool';
  dims: readonly number[];
  /** f16: bit patterns. */
  data: Float32Array | BigInt64Array | Int32Array | Uint8Array | Uint16Array;
}

/** A causal language model that computes; made by `loadLanguageModel(spec, weights, options)`. */
export interface LanguageModel {
  readonly spec: ModelSpec;
  /** Where it computes: said once to the user when it is not 'native'. */
  readonly backend: 'native' | 'wasm';
  /** ids [batch, length] -> negative log-likelihood in nats of ids[b][t + 1] given ids[b][..t], [batch, length - 1]. Loss inside the graph. */
  losses(ids: Int32Array, batch: number, length: number): Promise<Float32Array>;
  /** ids [batch, length] -> logits [batch, length, vocab]. */
  logits(ids: Int32Array, batch: number, length: number): Promise<Float32Array>;
  /** As `logits`, and the hidden states: 'embed' (input of layer 0), '0'.. (output of layer N), 'final' (after the last norm), [batch, length, hidden]. */
  hidden(ids: Int32Array, batch: number, length: number): Promise<{ logits: Float32Array; states: Map<string, Float32Array> }>;
  /** A decoder with a KV cache, empty at first. */
  decoder(batch?: number): Promise<Decoder>;
  /**
   * The same model whose keys and values are quantized: in scoring as the cache would hold them, in decoding really. It shares the
   * weights and is closed by itself, before the model.
   */
  withCache(scheme: KvScheme): LanguageModel;
  close(): Promise<void>;
}

export interface Decoder {
  /** Tokens held so far. */
  readonly length: number;
  /** Bytes that keys and values of these tokens take: f32, or what a quantized cache holds. */
  readonly cacheBytes?: number;
  /** Appends ids [batch, n] and gives the logits of all of them, [batch, n, vocab]. */
  step(ids: Int32Array): Promise<Float32Array>;
  close(): Promise<void>;
}
