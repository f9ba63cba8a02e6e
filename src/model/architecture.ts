/**
 * What an architecture is: a row of data. The next architecture is a file in architectures/ and a line in architectures/index.ts;
 * one that computes differently (LayerNorm, ALiBi, experts) also brings its block to graph/.
 */
import type { JsonObject } from '../checkpoint/types.ts';
import type { ModelSpec, Role } from './types.ts';

/** One tensor, or one per layer, by name pattern: `{}` is the layer's number. */
export interface TensorRow {
  readonly name: string;
  readonly gguf: string;
  readonly role: Role;
  readonly shape: (spec: ModelSpec) => readonly number[];
  /** Left out: the tensor is always there. */
  readonly when?: (spec: ModelSpec) => boolean;
  /** Rows are heads; GGUF files of the permuted kind hold them in another order. */
  readonly heads?: (spec: ModelSpec) => number;
}

/** Tensors in the order of a Hugging Face file. */
export interface TensorTable {
  readonly before: readonly TensorRow[];
  readonly layer: readonly TensorRow[];
  readonly after: readonly TensorRow[];
}

/**
 * A scale moved out of the inputs of `to` can be folded into `from`: a norm's gain, or the output rows of a linear layer.
 * Norms are named by their tensor pattern without '.weight', linear layers by role.
 */
export interface FoldPair {
  readonly from: { readonly norm: string } | { readonly role: Role };
  readonly to: readonly Role[];
}

export interface Architecture {
  readonly name: string;
  /** `model_type` of config.json. */
  readonly modelType: string;
  /** Entries of `architectures` in config.json. */
  readonly classes: readonly string[];
  /** `permuted`: llama.cpp rotates neighbouring pairs here (rope type NORM), so its files hold the rows of q and k permuted. */
  readonly gguf: { readonly architecture: string; readonly permuted: boolean };
  readonly tensors: TensorTable;
  /** Layers that inference engines fuse into one: their members must share a scheme. */
  readonly fused: readonly (readonly Role[])[];
  readonly pairs: readonly FoldPair[];
  /** What the reference's configuration class assumes for a field that config.json leaves out; null = derived. */
  readonly defaults: JsonObject;
  readonly qkNorm: boolean;
  /** Which projections carry a bias. */
  readonly bias: (config: JsonObject) => ModelSpec['bias'];
  /** Whether layer `layer` slides; the width is `sliding_window`. */
  readonly slides: (config: JsonObject, layer: number) => boolean;
}

export const noBias: ModelSpec['bias'] = { q: false, k: false, v: false, o: false, gate: false, up: false, down: false };
