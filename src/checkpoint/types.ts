import type { ByteSource } from '../io/types.ts';
import type { StorageType } from '../tensor/storage.ts';

/** Where one tensor's bytes lie. Checked against its source: offset + bytes <= source.size. */
export interface TensorEntry {
  readonly name: string;
  readonly type: StorageType;
  /** Outermost first, as in safetensors; GGUF's reversed dimensions are turned round on reading. */
  readonly shape: readonly number[];
  readonly source: ByteSource;
  readonly offset: number;
  readonly bytes: number;
}

/** A file that belongs to the model and holds no weights: tokenizer, chat template, generation config. */
export interface Sidecar {
  readonly name: string;
  readonly source: ByteSource;
}

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** GGUF metadata keeps its types: a u32 and an i32 of equal value are different bytes. */
export type GgufScalarType = 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'f32' | 'bool' | 'string' | 'u64' | 'i64' | 'f64';
export type GgufValue =
  /** `bytes` only where the string is not valid UTF-8; then `value` holds it decoded with replacement characters. */
  | { type: 'string'; value: string; bytes?: Uint8Array }
  | { type: 'bool'; value: boolean }
  | { type: 'u64' | 'i64'; value: number | bigint }
  | { type: 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'f32' | 'f64'; value: number }
  /** `bytes` keeps strings that are not valid UTF-8 (tokens); then `value` holds them decoded with replacement characters. */
  | { type: 'array'; of: GgufScalarType; value: readonly (string | number | bigint | boolean)[]; bytes?: readonly Uint8Array[] };
export type GgufMetadata = ReadonlyMap<string, GgufValue>;

/** Raw bytes with names: what is in the file, before anyone asks what it means. */
export interface Checkpoint {
  readonly kind: 'huggingface' | 'gguf' | 'safetensors';
  /** Path or URL as the user gave it. */
  readonly name: string;
  /** In file order. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** config.json of a Hugging Face folder. */
  readonly config?: JsonObject;
  /** Key-value pairs of a GGUF file (of shard 0 when split). */
  readonly gguf?: GgufMetadata;
  /** `__metadata__` of a safetensors file. */
  readonly metadata?: ReadonlyMap<string, string>;
  readonly sidecars: readonly Sidecar[];
  close(): Promise<void>;
}
