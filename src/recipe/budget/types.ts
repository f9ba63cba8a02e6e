import type { ContainerName, WeightTensor } from '../../format/types.ts';
import type { Scheme } from '../../quantize/scheme.ts';

/** Tensors that get one scheme: runtimes fuse them into one matrix (q, k, v; gate, up), or it is one tensor. */
export interface TensorGroup {
  /** At least one. */
  tensors: readonly WeightTensor[];
  /** What they may become in the container, other than staying as they are. */
  candidates: readonly Scheme[];
}

/** What an error was measured by: tr(E H E'), squares weighted by mean squares of the inputs, plain squares. */
export type ErrorMeasure = 'hessian' | 'meansquare' | 'weights';

/** What a group of tensors costs by scheme. */
export interface GroupSensitivity {
  /** Canonical names. */
  tensors: readonly string[];
  measure: ErrorMeasure;
  /**
   * Nats of KL for one unit of error: measured by `probes`; 1 where the model cannot be run, so that what adds up is relative errors.
   */
  scale: number;
  /** The model's KL with only this group quantized. */
  probes: readonly { scheme: string; error: number; kl: number /** Standard error of kl. */; klError?: number }[];
  /** The KL of the probe is not above its noise: the scale is a floor, not a measurement. */
  floored?: true;
  /** Relative error of the outputs, summed over the tensors. */
  choices: readonly { scheme: Scheme; error: number }[];
}

/** Measured once for a model and a container; a JSON document. */
export interface Sensitivities {
  version: 1;
  /** Fingerprint of the model's headers. */
  source: string;
  container: ContainerName;
  /** Whether losses are KL, or relative errors. */
  unit: 'kl' | 'error';
  /** Tokens that the statistics and the probes saw; 0 where none. */
  tokens: { statistics: number; probes: number };
  groups: readonly GroupSensitivity[];
}
