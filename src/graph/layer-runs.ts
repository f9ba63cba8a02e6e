/** How many sequences pass a layer together, and the memory that takes. */
import type { ModelSpec } from '../model/types.ts';

/** Bound on the attention scores of a run, bytes. */
const scoreBytes = 2 ** 29;

/** Sequences that pass together: 4096 tokens, 2048 in wide models, and fewer where their attention scores would be large. */
export function sequencesOfRun({ hidden, intermediate, heads }: ModelSpec, context: number): number {
  const tokens = Math.max(hidden, intermediate) > 4096 ? 2048 : 4096;
  return Math.max(1, Math.min(Math.floor(tokens / context), Math.floor(scoreBytes / (4 * heads * context * context))));
}

/** Bytes that one run of a layer holds besides its weights: measured, states of about so many widths live at once. */
export function layerRunBytes(spec: ModelSpec, context: number): number {
  const { hidden, intermediate, heads, headDim } = spec;
  const sequences = sequencesOfRun(spec, context);
  const states = sequences * context * (6 * hidden + 4 * intermediate + 4 * heads * headDim);
  const scores = 2 * sequences * heads * context * context;
  return 4 * (states + scores);
}
