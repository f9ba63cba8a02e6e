/**
 * Bytes of the key/value cache: 2 x layers x kv_heads x head_dim x tokens x batch values (Shazeer, arXiv 1911.02150; with grouped
 * queries kv_heads is less than heads, arXiv 2305.13245), with the scales of groups where they are quantized.
 */
import type { ModelSpec } from '../model/index.ts';
import { type KvShape, kvBytes } from '../quantize/kv/index.ts';
import type { KvScheme } from '../quantized/types.ts';
import { checkCount } from './storage.ts';

/** Every token alike: codes of `bits`, and per token groups of `group` channels of a head that share a scale and a zero. */
export interface KvStorage {
  /** Bits of a value (16). */
  bits?: number;
  /** Left out: no scales are counted. */
  group?: number;
  /** Bits of a scale (16) and of a zero (as the scale) of each group. */
  scaleBits?: number;
  zeroBits?: number;
}

export interface KvGeometry extends KvShape {
  /** Sliding windows by layer: a rolling cache holds no more tokens than that. Left out: all tokens of all layers. */
  windows?: readonly (number | undefined)[];
}

export function kvGeometry({ layers, kvHeads, headDim }: ModelSpec, batch = 1): KvGeometry {
  return { layers, kvHeads, headDim, batch };
}

/** A whole number of bytes. @param storage a storage that is the same for all tokens, or a scheme that keeps some tokens at f16 */
export function kvCacheBytes(geometry: KvGeometry, tokens: number, storage: KvStorage | KvScheme = {}): number {
  checkCount('the number of tokens', tokens, 0);
  for (const [name, value] of Object.entries({ layers: geometry.layers, kvHeads: geometry.kvHeads, headDim: geometry.headDim }))
    checkCount(name, value);
  const batch = checkCount('the batch', geometry.batch ?? 1);
  const bytes = [...heldTokens(geometry, tokens)].reduce((sum, [held, layers]) => {
    const shape: KvShape = { layers, kvHeads: geometry.kvHeads, headDim: geometry.headDim, batch };
    return sum + ('key' in storage ? kvBytes(shape, held, storage) : (layers * batch * held * tokenBits(geometry, storage)) / 8);
  }, 0);
  return Math.ceil(bytes);
}

/** Of one token in one sequence, all layers. */
export function kvBytesPerToken(geometry: KvGeometry, storage: KvStorage = {}): number {
  return kvCacheBytes({ layers: geometry.layers, kvHeads: geometry.kvHeads, headDim: geometry.headDim }, 1, storage);
}

/** How the cache grows: `points` numbers of tokens up to `tokens`, evenly spaced, with their bytes. */
export function kvGrowth(
  geometry: KvGeometry,
  tokens: number,
  storage: KvStorage | KvScheme = {},
  points = 16,
): { tokens: number; bytes: number }[] {
  const count = Math.min(checkCount('the number of points', points), checkCount('the number of tokens', tokens));
  return Array.from({ length: count }, (_, i) => {
    const at = Math.round((tokens * (i + 1)) / count);
    return { tokens: at, bytes: kvCacheBytes(geometry, at, storage) };
  });
}

/** Bits of the keys and values of one token in one layer. */
function tokenBits(
  { kvHeads, headDim }: KvGeometry,
  { bits = 16, group, scaleBits = 16, zeroBits = scaleBits }: KvStorage,
): number {
  const groups = group === undefined ? 0 : Math.ceil(headDim / checkCount('the group of a KV cache', group));
  return 2 * kvHeads * (headDim * bits + groups * (scaleBits + zeroBits));
}

/** Tokens held -> layers that hold so many. */
function heldTokens({ layers, windows }: KvGeometry, tokens: number): Map<number, number> {
  const held = new Map<number, number>();
  for (let layer = 0; layer < layers; layer++) {
    const count = Math.min(tokens, windows?.[layer] ?? tokens);
    held.set(count, (held.get(count) ?? 0) + 1);
  }
  return held;
}
