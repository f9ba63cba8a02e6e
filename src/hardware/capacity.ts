/** What fits: memory while a model runs and while it is loaded, and the largest batch and context for a given memory. */
import type { KvScheme } from '../quantized/types.ts';
import { type KvGeometry, type KvStorage, kvCacheBytes } from './kv-cache.ts';
import { checkCount } from './storage.ts';

/** How a file becomes weights in memory, by how much of it is there twice. */
export const loaders = {
  /** Pages of the file are the weights. */
  mapped: () => 0,
  /** Read and converted tensor by tensor. */
  tensor: ({ largest }: { largest: number }) => largest,
  /** The whole file is read before the first tensor is converted. */
  whole: ({ file }: { file: number }) => file,
} as const;
export type Loader = keyof typeof loaders;

/** Bytes at the worst moment of loading. @param sizes of the weights, their largest tensor and the file (as the weights) */
export function loadPeakBytes(
  { weights, largest, file = weights }: { weights: number; largest: number; file?: number },
  loader: Loader,
): number {
  return weights + loaders[loader]({ largest, file });
}

export interface Running {
  /** Bytes of memory, of weights, and of what else is always there. */
  memory: number;
  weights: number;
  overhead?: number;
  geometry: KvGeometry;
  storage?: KvStorage | KvScheme;
  /** Bytes of activations for so many sequences. */
  activations?: (batch: number) => number;
}

/** The most sequences of `context` tokens that fit; 0 where not one does. */
export function maxBatch(running: Running, context: number): number {
  checkCount('the context', context);
  return largestFitting(running.memory, (batch) => (batch === 0 ? 0 : runningBytes(running, context, batch)));
}

/** The most tokens of `batch` sequences that fit; 0 where not one does. */
export function maxContext(running: Running, batch = 1): number {
  checkCount('the batch', batch);
  return largestFitting(running.memory, (tokens) => (tokens === 0 ? 0 : runningBytes(running, tokens, batch)));
}

/** Weights, cache and activations of `batch` sequences of `tokens` tokens. */
export function runningBytes(running: Running, tokens: number, batch: number): number {
  const { weights, overhead = 0, geometry, storage, activations } = running;
  return weights + overhead + kvCacheBytes({ ...geometry, batch }, tokens, storage) + (activations?.(batch) ?? 0);
}

/** No run has more sequences or tokens than this. */
const most = 2 ** 40;

/** The largest n whose bytes fit; `bytes` never falls. */
function largestFitting(memory: number, bytes: (n: number) => number): number {
  let [fits, over] = [0, 1];
  while (over < most && bytes(over) <= memory) [fits, over] = [over, 2 * over];
  while (over - fits > 1) {
    const middle = Math.floor((fits + over) / 2);
    if (bytes(middle) <= memory) fits = middle;
    else over = middle;
  }
  return fits;
}
