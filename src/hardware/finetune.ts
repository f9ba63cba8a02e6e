/**
 * Memory of finetuning with AdamW: weights, gradients, two f32 moments and, in mixed precision, an f32 master copy of what is trained
 * (16 bytes a parameter: Rajbhandari et al., ZeRO, arXiv 1910.02054), adapters (LoRA, arXiv 2106.09685; over a frozen NF4 base: QLoRA,
 * arXiv 2305.14314), activations.
 */
import { type ModelSpec, modelTensors, type Role, roleGroups } from '../model/index.ts';
import { trainingActivationBytes } from './activations.ts';
import { checkCount, nf4, nf4Double } from './storage.ts';
import { elementsOf, modelWeightBytes, parameterCount } from './weights.ts';

export type FinetuneKind = 'full' | 'lora' | 'qlora';

export interface FinetuneOptions {
  kind: FinetuneKind;
  /** Tokens of a sequence (512) and sequences of a step (1). */
  tokens?: number;
  batch?: number;
  checkpointing?: boolean;
  /** Rank of the adapters (16) and the linears that have one (all of them). */
  rank?: number;
  roles?: readonly Role[];
  /** Bits of weights that are computed with, and of their gradients (16). */
  bits?: number;
  /** Bits of adapters (full: not used; 16). */
  adapterBits?: number;
  /** An f32 copy of what is trained (full: true; adapters: false). */
  master?: boolean;
  /** Bits of each of the two moments (32; 8: bitsandbytes). */
  momentBits?: number;
  /** QLoRA: scales of NF4 in 8 bits (true). */
  doubleQuant?: boolean;
}

/** Bytes, whole numbers. */
export interface FinetuneBytes {
  weights: number;
  adapters: number;
  gradients: number;
  optimizer: number;
  activations: number;
  total: number;
  /** Parameters that are trained. */
  trained: number;
}

export function finetuneBytes(spec: ModelSpec, options: FinetuneOptions): FinetuneBytes {
  const { kind, tokens = 512, batch = 1, checkpointing = false, rank = 16, bits = 16, momentBits = 32 } = options;
  const full = kind === 'full';
  const { roles = roleGroups.linear, adapterBits = 16, master = full, doubleQuant = true } = options;
  const trained = full ? parameterCount(spec).all : adapterParameters(spec, rank, roles);
  const base = kind === 'qlora' ? (doubleQuant ? nf4Double : nf4) : { bits };
  const weights = modelWeightBytes(spec, { ...base, keptBits: bits }).bytes;
  const adapters = full ? 0 : Math.ceil((trained * adapterBits) / 8);
  const gradients = Math.ceil((trained * (full ? bits : adapterBits)) / 8);
  const optimizer = Math.ceil((trained * 2 * momentBits) / 8) + (master ? 4 * trained : 0);
  const activations = trainingActivationBytes(spec, { tokens, batch, checkpointing });
  return {
    weights,
    adapters,
    gradients,
    optimizer,
    activations,
    total: weights + adapters + gradients + optimizer + activations,
    trained,
  };
}

/** Two matrices [rank, in] and [out, rank] beside every matrix of these roles. */
export function adapterParameters(spec: ModelSpec, rank: number, roles: readonly Role[] = roleGroups.linear): number {
  checkCount('the rank of an adapter', rank);
  return modelTensors(spec)
    .filter((tensor) => tensor.shape.length === 2 && roles.includes(tensor.role) && elementsOf(tensor) > 0)
    .reduce((sum, { shape }) => sum + rank * (shape[0]! + shape[1]!), 0);
}
