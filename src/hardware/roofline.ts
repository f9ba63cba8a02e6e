/**
 * The roofline (Williams, Waterman, Patterson, CACM 52(4), 2009): work of so many operations and so many bytes takes the longer of both
 * times, at the peak rate and at the bandwidth of memory. It is a bound that no run passes, and without caches: what fits a cache is
 * faster than it says. Dequantization, normalization and launches cost nothing here.
 */

import { type DecoderSize, type DecoderWork, decodeWork, type Phase, prefillWork, storedBytes } from './decoder-work.ts';
import type { ConvolutionShape } from './mac/im2col.ts';
import { convolutionOutput } from './mac/im2col.ts';
import { type Machine, rateOf } from './machine.ts';
import type { ComputeType, Precision } from './precision.ts';
import { checkCount } from './storage.ts';

export interface Work {
  /** A multiply-accumulate is two. */
  operations: number;
  bytes: number;
}

export type Bound = 'compute' | 'memory';

export interface Roofline {
  /** Operations a byte: of the work, and where the machine's two limits meet. */
  intensity: number;
  ridge: number;
  bound: Bound;
  seconds: number;
  /** Operations a second that the bound leaves. */
  attainable: number;
  /** The type whose rate was taken: wider than asked where the machine has none of it. */
  compute: ComputeType;
}

export function roofline({ operations, bytes }: Work, machine: Machine, compute: ComputeType): Roofline {
  const { rate, compute: used } = rateOf(machine, compute);
  const [computing, moving] = [operations / rate, bytes / machine.bandwidth];
  const seconds = Math.max(computing, moving);
  return {
    intensity: operations / bytes,
    ridge: rate / machine.bandwidth,
    bound: computing > moving ? 'compute' : 'memory',
    seconds,
    attainable: operations / seconds,
    compute: used,
  };
}

export type DecoderPhase = 'prefill' | 'decode';

export interface DecoderRoofline extends Roofline {
  phase: DecoderPhase;
  batch: number;
  tokensPerSecond: number;
  /** Weights and cache, against the machine's memory; undefined where that is not known. */
  fits?: boolean;
}

const works: Record<DecoderPhase, (size: DecoderSize, precision: Precision, phase: Phase) => DecoderWork> = {
  prefill: prefillWork,
  decode: decodeWork,
};

/** A prompt of `tokens`, or the token after so many, for `batch` sequences together. */
export function decoderRoofline(
  size: DecoderSize,
  precision: Precision,
  machine: Machine,
  kind: DecoderPhase,
  phase: Phase,
): DecoderRoofline {
  const batch = checkCount('the batch', phase.batch ?? 1);
  checkCount('the number of tokens', phase.tokens, kind === 'prefill' ? 1 : 0);
  const { macs, weightBytes, cacheBytes } = works[kind](size, precision, phase);
  const row = roofline({ operations: 2 * macs, bytes: weightBytes + cacheBytes }, machine, precision.compute);
  const tokens = kind === 'prefill' ? phase.tokens * batch : batch;
  const needs = storedBytes(size, precision) + cacheBytes;
  return {
    ...row,
    phase: kind,
    batch,
    tokensPerSecond: tokens / row.seconds,
    ...(machine.memory !== undefined && { fits: needs <= machine.memory }),
  };
}

/** A convolution of `batch` images: weights, images and outputs move once, at the precision's bits. */
export function convolutionWork(shape: ConvolutionShape, { storage, activationBits }: Precision, batch = 1): Work {
  const { channels, height, width, out, kernel } = shape;
  const [rows, cols] = convolutionOutput(shape);
  const weights = out * channels * kernel[0] * kernel[1];
  const values = batch * (channels * height * width + out * rows * cols);
  return {
    operations: 2 * weights * rows * cols * batch,
    bytes: (weights * storage.bits + values * activationBits) / 8,
  };
}
