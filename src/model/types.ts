/**
 * A model described by data: what its tensors are called, what each is for, how the decoder computes.
 * Canonical tensor names are those of Hugging Face; GGUF names are derived from them.
 */

/** What a tensor is for. Recipes choose by role; `attention` and `mlp` in a recipe stand for the groups below. */
export const roles = [
  'embedding',
  'output',
  'q',
  'k',
  'v',
  'o',
  'gate',
  'up',
  'down',
  'norm',
  'qkNorm',
  'bias',
  'rope',
  'other',
] as const;
export type Role = (typeof roles)[number];

export const roleGroups = {
  attention: ['q', 'k', 'v', 'o'],
  mlp: ['gate', 'up', 'down'],
  linear: ['q', 'k', 'v', 'o', 'gate', 'up', 'down'],
} as const satisfies Record<string, readonly Role[]>;

export type RopeScaling =
  | { kind: 'none' }
  | { kind: 'linear'; factor: number }
  | { kind: 'dynamic'; factor: number; originalContext: number }
  | { kind: 'llama3'; factor: number; lowFrequency: number; highFrequency: number; originalContext: number }
  | {
      kind: 'yarn';
      factor: number;
      originalContext: number;
      betaFast: number;
      betaSlow: number;
      attentionFactor?: number;
      truncate: boolean;
    }
  /** Frequencies are divided by the values of a tensor [dims / 2]: 'rope_freqs.weight' of a GGUF file. */
  | { kind: 'tensor'; name: string };

export interface Rope {
  /** Dimensions of a head that are rotated; pairs are halves (i, i + dims/2). */
  dims: number;
  base: number;
  scaling: RopeScaling;
}

/** Hyperparameters, resolved from config.json (both transformers forms) or GGUF metadata. */
export interface ModelSpec {
  /** Row of the architecture table: 'llama', 'mistral', 'qwen2', 'qwen3'. */
  architecture: string;
  hidden: number;
  intermediate: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  vocab: number;
  context: number;
  normEpsilon: number;
  rope: Rope;
  tied: boolean;
  /** Which projections carry a bias. */
  bias: { q: boolean; k: boolean; v: boolean; o: boolean; gate: boolean; up: boolean; down: boolean };
  /** RMSNorm of q and k over the head dimension, before the rotation. */
  qkNorm: boolean;
  /** Sliding window by layer; undefined = full attention. */
  window: readonly (number | undefined)[];
}

/** One tensor that a spec demands. */
export interface ModelTensor {
  /** Hugging Face name: 'model.layers.0.self_attn.q_proj.weight'. */
  name: string;
  /** GGUF name: 'blk.0.attn_q.weight'. */
  gguf: string;
  role: Role;
  layer?: number;
  /** [out, in] or [n]. */
  shape: readonly number[];
  /** llama-family GGUF files hold q and k rows permuted (convert_hf_to_gguf.py `permute`): the number of heads to permute by. */
  permute?: number;
}
