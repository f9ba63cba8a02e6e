/**
 * Bytes of activations of a gated decoder (RMSNorm, grouped queries, gate/up/down). Inference keeps what is alive at the widest place
 * of one layer; training keeps what the backward pass of every layer reads, or with checkpointing each layer's input and one layer
 * that is computed again (Chen et al., arXiv 1604.06174; the way of counting: Korthikanti et al., arXiv 2205.05198).
 */
import type { ModelSpec } from '../model/index.ts';
import { checkCount } from './storage.ts';

type Widths = Pick<ModelSpec, 'hidden' | 'intermediate' | 'heads' | 'kvHeads' | 'headDim' | 'layers' | 'vocab'>;

export interface ActivationOptions {
  /** Tokens of one sequence that pass together: a prompt, or 1 while generating. */
  tokens: number;
  batch?: number;
  /** Tokens that attention looks at (as `tokens`). */
  context?: number;
  /** Bits of a value (16). */
  bits?: number;
  /** Attention in tiles, whose scores are never in memory as a whole (true). */
  tiledAttention?: boolean;
}

/** Bytes alive at the widest place of a forward pass, logits of the last token of each sequence (f32) included. */
export function inferenceActivationBytes(spec: Widths, options: ActivationOptions): number {
  const { tokens, batch = 1, context = tokens, bits = 16, tiledAttention = true } = options;
  const { hidden, intermediate, heads, kvHeads, headDim, vocab } = spec;
  const all = checkCount('tokens', tokens) * checkCount('the batch', batch);
  const scores = tiledAttention ? 0 : heads * tokens * context * batch;
  // The residual stream and its norm wait beside all of these.
  const attention = all * (2 * hidden + 2 * heads * headDim + 2 * kvHeads * headDim) + scores;
  const mlp = all * (2 * hidden + 2 * intermediate);
  const head = batch * (2 * hidden) + (batch * vocab * 32) / bits;
  return Math.ceil((Math.max(attention, mlp, head) * bits) / 8);
}

export interface TrainingOptions extends ActivationOptions {
  checkpointing?: boolean;
}

/** Bytes that are kept for the backward pass, with the logits of all tokens in f32 and their gradient. */
export function trainingActivationBytes(spec: Widths, options: TrainingOptions): number {
  const { tokens, batch = 1, bits = 16, checkpointing = false } = options;
  const layer = layerTrainingValues(spec, options);
  const all = tokens * batch;
  const kept = checkpointing ? spec.layers * all * spec.hidden + layer : spec.layers * layer;
  return Math.ceil((kept * bits) / 8) + 2 * 4 * all * spec.vocab;
}

/** Values that the backward pass of one layer reads: inputs of norms and linears, q, k, v, gate and up, and the scores if they are kept. */
export function layerTrainingValues(spec: Widths, { tokens, batch = 1, tiledAttention = true }: TrainingOptions): number {
  const { hidden, intermediate, heads, kvHeads, headDim } = spec;
  const all = tokens * batch;
  const attention = 2 * hidden + heads * headDim + 2 * kvHeads * headDim + heads * headDim;
  const mlp = 2 * hidden + 3 * intermediate;
  return all * (attention + mlp) + (tiledAttention ? 0 : 2 * heads * tokens * tokens * batch);
}
