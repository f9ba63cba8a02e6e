/** What `--kv-bits` stands for. Measured on the default model (evaluate/kv-cache.test.ts); groups of 32 tokens are KIVI's. */
import { RecipeError } from '../../errors.ts';
import type { KvScheme, KvSide } from '../../quantized/types.ts';

interface Preset {
  bits: KvSide['bits'];
  /** Who shares scales of keys: integers need a scale for each channel, since some channels of keys are large for all tokens. */
  key: KvSide['per'];
  residual: number;
}

export const kvPresets = {
  '8': { bits: 8, key: 'channel', residual: 32 },
  '4': { bits: 4, key: 'channel', residual: 32 },
  // Two bits cost twenty times as much as four: twice the window takes most of it back.
  '2': { bits: 2, key: 'channel', residual: 64 },
  fp8: { bits: 'fp8', key: 'token', residual: 32 },
} as const satisfies Record<string, Preset>;

export type KvPresetName = keyof typeof kvPresets;

const tokenGroup = 32;
const channelGroup = 64;

/**
 * Keys per channel in groups of 32 tokens, values per token in groups of at most 64 channels, no sinks and no rotation: with keys per
 * channel neither gains anything.
 * @throws RecipeError for a name that is none of `kvPresets`
 */
export function kvPreset(name: string, headDim: number): KvScheme {
  if (!Object.hasOwn(kvPresets, name)) {
    const next = `choose one of ${Object.keys(kvPresets).join(', ')}`;
    throw new RecipeError({ what: 'there is no such KV cache', value: name, next });
  }
  const { bits, key, residual }: Preset = kvPresets[name as KvPresetName];
  const side = (per: KvSide['per']): KvSide => ({ bits, per, group: per === 'channel' ? tokenGroup : channelsOf(headDim) });
  return { key: side(key), value: side('token'), residual, sinks: 0, hadamard: false };
}

/** The largest divisor of a head that is at most 64. */
function channelsOf(headDim: number): number {
  for (let group = Math.min(headDim, channelGroup); ; group--) if (headDim % group === 0) return group;
}
