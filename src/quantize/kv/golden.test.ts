/** Keys and values as KIVI packs them, and as a quantized cache of transformers returns them. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { unpackDense } from '../../numeric/pack.ts';
import type { KvSide } from '../../quantized/types.ts';
import type { StorageType } from '../../tensor/storage.ts';
import { toF32 } from '../../tensor/values.ts';
import { dequantizeGroups, packCodes, quantizeGroups, unpackCodes } from './groups.ts';
import { RequantizedCache } from './requantized-cache.ts';

const golden = new URL('../../../test/golden/methods/kv_cache/', import.meta.url);
const dtypes: Record<string, StorageType> = { F32: 'f32', F16: 'f16' };

function readGolden(name: string) {
  const file = readFileSync(new URL(`${name}.safetensors`, golden));
  const end = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, end));
  const bytes = (key: string) => {
    const { data_offsets } = header[key];
    return Uint8Array.from(file.subarray(end + data_offsets[0], end + data_offsets[1]));
  };
  const { cases, parameters } = JSON.parse(readFileSync(new URL(`${name}.json`, golden), 'utf8'));
  return {
    cases,
    parameters,
    bytes,
    values: (key: string) => toF32(dtypes[header[key].dtype]!, bytes(key)),
  };
}

/** The heads of [1, heads, ...] one by one. */
function headsOf<T extends Float32Array | Uint8Array>(all: T, heads: number): T[] {
  const n = all.length / heads;
  return Array.from({ length: heads }, (_, h) => all.subarray(h * n, (h + 1) * n) as T);
}

describe('KIVI (commit 876b4d2)', () => {
  const { cases, parameters, bytes, values } = readGolden('kivi_pack');
  const { heads, tokens, head_dim: width, group_size: group } = parameters;

  it.each(cases as { case: string; which: 'k' | 'v'; bits: 2 | 4 | 8 }[])('$case $which', ({ case: name, which, bits }) => {
    const side: KvSide = { bits, per: which === 'k' ? 'channel' : 'token', group };
    const dtype = name.endsWith('f16') ? 'f16' : 'f32';
    const field = (what: string) => `${name}.${which}.${what}`;
    const head = (all: Float32Array, h: number) => headsOf(all, heads)[h]!;
    const packed = headsOf(bytes(field('packed')), heads);
    for (let h = 0; h < heads; h++) {
      const found = quantizeGroups(head(values(which), h), width, side, { stored: dtype, compute: dtype });
      expect(found.scale).toEqual(head(values(field('scale')), h));
      expect(found.minimum).toEqual(head(values(field('min')), h));
      expect(found.codes).toEqual(which === 'v' ? unpackDense(packed[h]!, bits, tokens * width) : alongTokens(packed[h]!, bits));
      if (dtype === 'f32') expect(dequantizeGroups(found, width, side)).toEqual(head(values(field('dequantized')), h));
      expect(unpackCodes(packCodes(found.codes, side), side)).toEqual(found.codes);
    }
  });

  /** Words that hold 32 / bits tokens of one channel, [tokens * bits / 32, width] -> codes [tokens, width]. */
  function alongTokens(bytes: Uint8Array, bits: number): Uint8Array {
    const words = new Uint32Array(bytes.slice().buffer);
    const each = 32 / bits;
    return Uint8Array.from({ length: tokens * width }, (_, i) => {
      const [t, c] = [Math.floor(i / width), i % width];
      return (words[Math.floor(t / each) * width + c]! >>> ((t % each) * bits)) & (2 ** bits - 1);
    });
  }
});

describe('the quanto cache of transformers 5.23.0', () => {
  const { cases, parameters, values } = readGolden('transformers_quantized_cache');
  const { heads, head_dim: width, update_sizes: sizes } = parameters;
  interface Case {
    case: string;
    backend: string;
    bits: 2 | 4;
    axis_key: number;
    axis_value: number;
    group_size: number;
    residual_length: number;
    updates: { k_mse: number; v_mse: number }[];
  }
  const quanto = (cases as Case[]).filter(({ backend }) => backend === 'quanto');

  it.each(quanto)('$case', (c) => {
    expect(quanto).toHaveLength(3);
    for (const [which, axis] of [
      ['k', c.axis_key],
      ['v', c.axis_value],
    ] as const) {
      const side: KvSide = { bits: c.bits, per: axis === 0 ? 'token' : 'channel', group: c.group_size };
      const cache = new RequantizedCache(heads, width, side, c.residual_length);
      const all = headsOf(values(which), heads);
      const part = (from: number, to: number) => {
        const out = new Float32Array(heads * (to - from) * width);
        for (const [h, head] of all.entries()) out.set(head.subarray(from * width, to * width), h * (to - from) * width);
        return out;
      };
      let at = 0;
      let last = new Float32Array(0);
      for (const [i, size] of (sizes as number[]).entries()) {
        last = cache.update(part(at, at + size)) as typeof last;
        at += size;
        const exact = part(0, at);
        const mse = last.reduce((sum, v, j) => sum + (v - exact[j]!) ** 2, 0) / last.length;
        expect(Math.abs(mse - c.updates[i]![`${which}_mse`])).toBeLessThan(1e-6);
      }
      expect(last).toEqual(values(`${c.case}.${which}`));
      expect(cache.quantizedPart()).toEqual(values(`${c.case}.${which}_quantized_part`));
    }
  });

  it('refuses groups that do not fill the cache, as quanto does', () => {
    const cache = new RequantizedCache(1, 4, { bits: 4, per: 'channel', group: 32 }, 16);
    expect(() => cache.update(new Float32Array(4 * 33))).toThrow('do not fill');
  });
});
