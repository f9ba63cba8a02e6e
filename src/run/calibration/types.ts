/** How activations are collected: layer by layer, with the inputs of linears shown by taps of the layer's graph. */
import type { GraphTensor, WeightReader } from '../../graph/types.ts';
import type { InputGroup } from '../../model/index.ts';
import type { Drift } from '../../quantize/rounding/drift.ts';
import type { StatisticKind, Statistics } from '../../quantize/statistics.ts';

export type CapturedInput = Statistics & { drift?: Drift };

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
  capture(
    weights: WeightReader,
    groups: readonly InputGroup[],
    kinds: readonly StatisticKind[],
    options?: CaptureOptions,
  ): Promise<CapturedInput[]>;
  /** Both at once: half the work where the weights do not change between looking and moving on. */
  captureAndAdvance(
    weights: WeightReader,
    groups: readonly InputGroup[],
    kinds: readonly StatisticKind[],
    options?: Pick<CaptureOptions, 'watch'>,
  ): Promise<Statistics[]>;
  /** What the linears of the current layer read, some sequences at a time; with `move` the walk has moved on at the end. */
  look(weights: WeightReader, groups: readonly InputGroup[], options: LookOptions): AsyncGenerator<Look>;
  /** Passes the activations through the current layer with these weights and moves on to the next. */
  advance(weights: WeightReader): Promise<void>;
  close(): Promise<void>;
}

export interface CaptureOptions {
  /** Another walk over the same samples, in front of the same layer: then the drift is captured too. */
  original?: OriginalWalk;
  /** Sees what a group reads, one sample after another in their order: x [context, width], finite. */
  watch?: (group: number, x: Float32Array) => void;
}

/** The same samples in front of the same layer of the unquantized model. */
export interface OriginalWalk {
  walk: LayerWalk;
  weights: WeightReader;
  /** It moves on while it is looked at: its weights do not change in between. */
  move?: boolean;
}

export interface LookOptions {
  move: boolean;
  /** Also the streams that outputs are added to. */
  residuals: boolean;
}

/** Sequences [from, to) in front of one layer. */
export interface Look {
  from: number;
  to: number;
  /** By group, [tokens, width]. */
  inputs: GraphTensor[];
  /** By group: the stream that the linear's output is added to, [tokens, hidden]; where asked for. */
  residuals: (GraphTensor | undefined)[];
}
