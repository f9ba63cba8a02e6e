/** How activations are collected: layer by layer, with the inputs of linears shown by taps of the layer's graph. */
import type { WeightReader } from '../../graph/types.ts';
import type { StatisticKind, Statistics } from '../../quantize/statistics.ts';

/** Linears that read the same input. */
export interface InputGroup {
  /** Names like 'model.layers.0.self_attn.q_proj'. */
  linears: readonly string[];
  /** Width of the input. */
  width: number;
}

/**
 * The activations of all samples in front of one layer; it starts at layer 0 (after the embedding). Position `spec.layers` is the
 * head: its one group is the input of lm_head (or of the tied embedding, 'model.embed_tokens'), after the final norm.
 */
export interface LayerWalk {
  readonly layer: number;
  /** Tokens in all. */
  readonly tokens: number;
  /**
   * Statistics of the inputs of these groups of the current layer, in the groups' order.
   * @param weights of this layer, by canonical name
   */
  capture(weights: WeightReader, groups: readonly InputGroup[], kinds: readonly StatisticKind[]): Promise<Statistics[]>;
  /** Passes the activations through the current layer with these weights and moves on to the next. */
  advance(weights: WeightReader): Promise<void>;
  close(): Promise<void>;
}
