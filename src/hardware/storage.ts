/** How weights are stored, as far as their size goes. */
import { RecipeError } from '../errors.ts';

export interface WeightStorage {
  /** Bits of one code. From 16 on values stand for themselves: no scales. */
  bits: number;
  /** Consecutive inputs that share a scale; -1: a row (128). */
  group?: number;
  /** Bits of one scale (16; 0: none, and no zero points either). */
  scaleBits?: number;
  /** Bits of one zero point or minimum (as `scaleBits`; 0: none). */
  zeroBits?: number;
  /** Double quantization: `scaleBits` are codes, and so many of them share one scale of `bits`. */
  nested?: { group: number; bits: number };
  /** Values kept apart one by one: their share of all values, bits of each (16) and of its place (32). */
  outliers?: { share: number; bits?: number; indexBits?: number };
}

export interface CompleteStorage extends WeightStorage {
  group: number;
  scaleBits: number;
  zeroBits: number;
}

/** NF4 of QLoRA (arXiv 2305.14314): blocks of 64, f32 scales, or 8-bit scales in blocks of 256 under one f32. */
export const nf4: WeightStorage = { bits: 4, group: 64, scaleBits: 32, zeroBits: 0 };
export const nf4Double: WeightStorage = { bits: 4, group: 64, scaleBits: 8, zeroBits: 0, nested: { group: 256, bits: 32 } };

const defaultGroup = 128;
const defaultLevelBits = 16;

/** @throws RecipeError for numbers that no storage has */
export function completeStorage(storage: WeightStorage): CompleteStorage {
  const { bits, outliers, nested } = storage;
  const plain = bits >= 16;
  const scaleBits = plain ? 0 : (storage.scaleBits ?? defaultLevelBits);
  const zeroBits = scaleBits === 0 ? 0 : (storage.zeroBits ?? scaleBits);
  const group = storage.group ?? defaultGroup;
  const refuse = (what: string, value: unknown, limit: string) => {
    throw new RecipeError({ what, value, limit });
  };
  if (!(bits > 0 && bits <= 64)) refuse('no such number of bits', bits, 'more than 0, at most 64');
  if (!Number.isInteger(group) || group === 0 || group < -1) refuse('not a group size', group, 'a whole number, or -1 for a row');
  if (!whole(scaleBits) || !whole(zeroBits))
    refuse('bits of scales and zeros are whole numbers', [scaleBits, zeroBits], '0 or more');
  if (outliers && !(outliers.share >= 0 && outliers.share <= 1)) refuse('not a share of values', outliers.share, '0 to 1');
  if (nested && !(whole(nested.group) && nested.group > 0 && whole(nested.bits)))
    refuse('not a level above scales', nested, 'group, bits');
  return { ...storage, bits, group, scaleBits, zeroBits };
}

function whole(n: number): boolean {
  return Number.isInteger(n) && n >= 0;
}

/** @throws RecipeError for what is no count, or one that doubles do not hold exactly */
export function checkCount(name: string, value: number, least = 1): number {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new RecipeError({ what: `${name} must be a whole number of at least ${least}`, value, limit: Number.MAX_SAFE_INTEGER });
  }
  return value;
}
