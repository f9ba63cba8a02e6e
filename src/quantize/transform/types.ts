import type { Rewrite } from '../../quantized/types.ts';
import type { TensorOperation } from './operations.ts';
import type { Rotation } from './rotation.ts';

/** A rotation that stays in the model: the input of a linear, or queries and keys after their rotary positions, at run time. */
export type OnlineRotation =
  /** Runs of the input become x Q; values `stride` (1) apart turn together: the channels of a head as stride mix heads. */
  | { readonly at: 'input'; readonly linear: string; readonly rotation: Rotation; readonly stride?: number }
  | { readonly at: 'queryKey'; readonly layer: number; readonly rotation: Rotation };

/** A mapping that a method could not use, and why. */
export interface Skipped {
  /** Weights whose inputs would have been scaled. */
  readonly linears: readonly string[];
  readonly reason: string;
}

/** What a transform does to a model, as data: `applyOperations` does it tile by tile. */
export interface ModelRewrite {
  /** Method and parameters as JSON, for containers and reports. */
  readonly description: Rewrite & { readonly kind: 'awq' | 'smoothquant' | 'quarot' | 'sinq' };
  readonly operations: readonly TensorOperation[];
  /** Not function-preserving and applied after all `operations`: AWQ's clips. */
  readonly clips: readonly Extract<TensorOperation, { kind: 'clip' }>[];
  readonly online: readonly OnlineRotation[];
  readonly skipped: readonly Skipped[];
  /**
   * The head gets a matrix of its own, which starts as a copy of the embedding: `operations` name it `tensor`.
   * Set where embedding and head were one.
   */
  readonly untied?: { readonly tensor: string; readonly from: string };
}
