/** How many sequences pass a layer together, and the memory that takes. */
import type { ModelSpec } from '../model/types.ts';

/** Bound on the attention scores of a run, bytes. */
const scoreBytes = 2 ** 29;

/** Sequences that pass together: 4096 tokens, 2048 in wide models, and fewer where their attention scores would be large. */
export function sequencesOfRun({ hidden, intermediate, heads }: ModelSpec, context: number): number {
  const tokens = Math.max(hidden, intermediate) > 4096 ? 2048 : 4096;
  return Math.max(1, Math.min(Math.floor(tokens / context), Math.floor(scoreBytes / (4 * heads * context * context))));
}

/** Blocks of activations that are alive at once in a run of a layer, measured: how many of so many values each. */
function liveBlocks(spec: ModelSpec, context: number): { count: number; values: number }[] {
  const { hidden, intermediate, heads, headDim } = spec;
  const sequences = sequencesOfRun(spec, context);
  const tokens = sequences * context;
  return [
    { count: 6, values: tokens * hidden },
    { count: 4, values: tokens * intermediate },
    { count: 4, values: tokens * heads * headDim },
    { count: 2, values: sequences * heads * context * context },
  ];
}

const blockBytes = (blocks: { count: number; values: number }[]) =>
  blocks.reduce((sum, { count, values }) => sum + 4 * count * values, 0);

/** Bytes that one run of a layer holds besides its weights. */
export function layerRunBytes(spec: ModelSpec, context: number): number {
  return blockBytes(liveBlocks(spec, context));
}

/** glibc asks the system for blocks of this size and above one by one, and gives them back when they are freed (mallopt(3)). */
const LARGE_BLOCK = 2 ** 25;

/**
 * Bytes of a run that stay with the process when they are freed: smaller blocks come from a heap that shrinks only at its end, where
 * the outputs of a run lie between what the next one frees.
 */
export function keptRunBytes(spec: ModelSpec, context: number): number {
  return blockBytes(liveBlocks(spec, context).filter(({ values }) => 4 * values < LARGE_BLOCK));
}
