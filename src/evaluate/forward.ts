/** Logits of a batch in pieces of positions: a whole window at once, or through the KV cache where its logits would not fit in memory. */
import type { LanguageModel } from '../graph/types.ts';
import { defaultLogitBytes } from './windows.ts';

export interface Forward {
  /** ids [batch, n]: the next positions -> logits [batch, n, vocab]. */
  step(ids: Int32Array): Promise<Float32Array>;
  close(): Promise<void>;
}

/** Positions in one step: the whole window where the logits of `batch` windows stay under the bound. */
export function pieceLength(batch: number, context: number, vocab: number, bound = defaultLogitBytes): number {
  return Math.max(1, Math.min(context, Math.floor(bound / (batch * vocab * 4))));
}

/** A forward pass over `batch` windows of `context` tokens, `piece` positions a step. */
export async function openForward(model: LanguageModel, batch: number, context: number, piece: number): Promise<Forward> {
  if (piece < context) return model.decoder(batch);
  return { step: (ids) => model.logits(ids, batch, context), close: async () => {} };
}

/** Columns [from, to) of ids [batch, context] -> [batch, to - from]. */
export function columns(ids: Int32Array, context: number, from: number, to: number): Int32Array {
  if (from === 0 && to === context) return ids;
  const batch = ids.length / context;
  const part = new Int32Array(batch * (to - from));
  for (let b = 0; b < batch; b++) part.set(ids.subarray(b * context + from, b * context + to), b * (to - from));
  return part;
}
