/** What a quantized key/value cache is made of: which schemes there are, which tokens are quantized when, and what that takes. */
import { RecipeError } from '../../errors.ts';
import type { KvScheme, KvSide } from '../../quantized/types.ts';

/** The head shape of one layer's keys, and how many layers and sequences there are. */
export interface KvShape {
  layers: number;
  kvHeads: number;
  headDim: number;
  batch?: number;
}

/** Tokens that move together where no scale is shared between tokens. */
const tokenBlock = 32;

/** Tokens that are quantized at a time: the longest group of tokens, or 32 where only channels share scales. */
export function kvBlock({ key, value }: Pick<KvScheme, 'key' | 'value'>): number {
  const groups = [key, value].flatMap(({ per, group }) => (per === 'channel' ? [group] : []));
  return groups.length > 0 ? Math.max(...groups) : tokenBlock;
}

/** Tokens from position `sinks` on that the token at position `t` sees quantized: a multiple of the block. */
export function quantizedBefore(scheme: KvScheme, t: number): number {
  const block = kvBlock(scheme);
  return block * Math.floor(Math.max(0, t - scheme.sinks - scheme.residual) / block);
}

/** @throws RecipeError for a scheme that heads of `headDim` values cannot have. */
export function checkKvScheme(scheme: KvScheme, headDim: number): void {
  const block = kvBlock(scheme);
  const whole = (n: number, least: number) => Number.isSafeInteger(n) && n >= least;
  for (const [name, value] of Object.entries({ residual: scheme.residual, sinks: scheme.sinks })) {
    if (!whole(value, 0)) throw new RecipeError({ what: `the ${name} of a KV cache is a whole number of tokens`, value });
  }
  for (const [name, side] of [
    ['keys', scheme.key],
    ['values', scheme.value],
  ] as const)
    checkSide(name, side, headDim, block);
  if (scheme.hadamard && !Number.isInteger(Math.log2(headDim))) {
    throw new RecipeError({
      what: 'the Hadamard rotation of a KV cache needs heads of a power of two',
      value: headDim,
      next: 'leave the rotation out',
    });
  }
}

function checkSide(name: string, { bits, per, group, symmetric }: KvSide, headDim: number, block: number): void {
  const refuse = (what: string, value: unknown, limit?: unknown) => {
    throw new RecipeError({ what: `${name} of a KV cache: ${what}`, value, limit });
  };
  if (![2, 4, 8, 'fp8'].includes(bits)) refuse('no such bits', bits, '2, 4, 8 or fp8');
  if (!Number.isSafeInteger(group) || group < 1) refuse('not a group', group);
  if (per === 'token' && headDim % group !== 0) refuse('groups of channels do not fill a head', group, headDim);
  if (per === 'channel' && block % group !== 0) refuse('groups of tokens do not fill a block', group, block);
  if (bits !== 'fp8' && (headDim * bits) % 8 !== 0) refuse('the codes of a head do not fill bytes', headDim, bits);
  if (bits === 'fp8' && symmetric === false) refuse('e4m3 has no minimum', symmetric);
}

/** Whether values are s c + m instead of s c. */
export function hasMinimum({ bits, symmetric = false }: KvSide): boolean {
  return bits !== 'fp8' && !symmetric;
}

/** Width of a code. */
export function codeBits({ bits }: KvSide): number {
  return bits === 'fp8' ? 8 : bits;
}

/** Bits a value takes with its share of f16 scales and minima. */
export function kvBitsPerValue(side: KvSide): number {
  return codeBits(side) + (16 * (hasMinimum(side) ? 2 : 1)) / side.group;
}

/**
 * Bytes of a cache that holds `tokens` tokens: packed codes, f16 scales and minima, and f16 for tokens that are exact.
 * Without a scheme: f16 for all.
 */
export function kvBytes(shape: KvShape, tokens: number, scheme?: KvScheme): number {
  const { layers, kvHeads, headDim, batch = 1 } = shape;
  const values = layers * kvHeads * headDim * batch;
  if (!scheme) return 2 * 2 * values * tokens;
  const quantized = quantizedBefore(scheme, tokens);
  const bits = kvBitsPerValue(scheme.key) + kvBitsPerValue(scheme.value);
  return values * ((quantized * bits) / 8 + (tokens - quantized) * 2 * 2);
}
