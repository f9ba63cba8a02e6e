/** ZeroQuant as DeepSpeed (edaa722) does it: group-wise weights, token-wise activations, weight-only packing. */
import { describe, expect, it } from 'vitest';
import { dequantizeTile } from './dequantize.ts';
import { largestDifference, readMethodGolden } from './method-golden.fixture.node.ts';
import { dequantizeWeightOnly, quantizeWeightOnly } from './weight-only.ts';
import { quantizeTokens, type ZeroQuantOptions, zeroQuantRows } from './zeroquant.ts';

interface Case {
  case: string;
  quantizer?: string;
  bits?: number;
  num_groups?: number;
  group_size?: number;
  num_bits?: 4 | 8;
  min?: number;
  max?: number;
}

const golden = readMethodGolden<Case>('zeroquant/deepspeed');
const w = golden.values('W');
const x = golden.values('x');
/** A code has no negative zero. */
const unsigned = (values: Float32Array): Float32Array => values.map((v) => v + 0);
const named = (prefix: string): Case[] => golden.cases.filter((c) => c.case.startsWith(prefix));
const place = { name: 'w', shape: [48, 128] as const, from: 0, to: 48 };

describe('DeepSpeed edaa722 weights', () => {
  it.each(named('w.'))('$case', (c) => {
    const options: ZeroQuantOptions = { bits: c.bits!, symmetric: c.quantizer === 'sym' };
    const tile = zeroQuantRows(w, place, c.group_size!, options);
    expect(tile.scale!.values).toHaveLength(c.num_groups!);
    expect(unsigned(dequantizeTile(tile))).toEqual(unsigned(golden.values(c.case)));
  });
});

describe('DeepSpeed edaa722 activations', () => {
  it.each([true, false])('of 8 bits, one range a token (symmetric %s)', (symmetric) => {
    const { values, scale } = quantizeTokens(x, 128, { bits: 8, symmetric });
    expect(scale).toHaveLength(24);
    expect(values).toEqual(unsigned(golden.values(`x.token_${symmetric ? 'sym' : 'asym'}`)));
  });

  it.each(named('x.'))('$case', (c) => {
    const options = { bits: 8, symmetric: c.case.endsWith('_sym') };
    expect(quantizeTokens(x, 128, options, { min: c.min!, max: c.max! }).values).toEqual(unsigned(golden.values(c.case)));
  });

  it.each([
    ['y.w8a8', 8, true],
    ['y.w4a8', 4, false],
  ] as const)('%s: the product of both', (name, bits, symmetric) => {
    const weight = dequantizeTile(zeroQuantRows(w, place, 64, { bits, symmetric }));
    const { values } = quantizeTokens(x, 128, { bits: 8, symmetric: false });
    const y = new Float32Array(24 * 48);
    for (let t = 0; t < 24; t++) {
      for (let row = 0; row < 48; row++) {
        let sum = 0;
        for (let c = 0; c < 128; c++) sum += values[t * 128 + c]! * weight[row * 128 + c]!;
        y[t * 48 + row] = sum;
      }
    }
    expect(largestDifference(y, golden.values(name))).toBeLessThan(1e-4);
  });
});

describe('DeepSpeed edaa722 weight-only inference', () => {
  it.each(named('woq.'))('$case', (c) => {
    const made = quantizeWeightOnly(w, c.group_size!, c.num_bits!);
    expect(made.packed).toEqual(Uint8Array.from(golden.values(`${c.case}.packed`)));
    expect(made.inverse).toEqual(golden.values(`${c.case}.scale`));
    expect(made.min).toEqual(golden.values(`${c.case}.min`));
    expect(dequantizeWeightOnly(made, c.group_size!, c.num_bits!)).toEqual(golden.values(`${c.case}.dequantized`));
  });
});

describe('ZeroQuant', () => {
  it('keeps zeros and equal values, where DeepSpeed gives NaN', () => {
    const flat = Float32Array.from({ length: 32 }, (_, i) => (i < 16 ? 0 : -0.3));
    const small = { name: 'w', shape: [2, 16] as const, from: 0, to: 2 };
    for (const symmetric of [true, false]) {
      const decoded = dequantizeTile(zeroQuantRows(flat, small, 16, { bits: 4, symmetric }));
      expect([...decoded.subarray(0, 16)]).toEqual(Array(16).fill(0));
      expect(largestDifference(decoded.subarray(16), flat.subarray(16))).toBeLessThan(1e-7);
    }
    expect(dequantizeWeightOnly(quantizeWeightOnly(flat, 16, 4), 16, 4)).toEqual(flat);
  });

  it('gives tiles that together are the whole', () => {
    const options = { bits: 4, symmetric: false };
    const whole = zeroQuantRows(w, place, 256, options);
    const parts = [0, 1, 2].map((i) =>
      zeroQuantRows(w.slice(i * 16 * 128, (i + 1) * 16 * 128), { ...place, from: 16 * i, to: 16 * (i + 1) }, 256, options),
    );
    expect(whole.scale!.per).toEqual({ flat: 256 });
    expect(parts.flatMap((t) => [...dequantizeTile(t)])).toEqual([...dequantizeTile(whole)]);
  });

  it('refuses groups that tiles cut, NaN and other bits', () => {
    expect(() => zeroQuantRows(w.slice(0, 128), { ...place, to: 1 }, 256, { bits: 4, symmetric: true })).toThrow('do not split');
    expect(() => quantizeTokens(Float32Array.of(1, Number.NaN), 2, { bits: 8, symmetric: true })).toThrow('NaN');
    expect(() => quantizeTokens(x, 129, { bits: 8, symmetric: true })).toThrow('whole tokens');
    expect(() => quantizeWeightOnly(w, 64, 5 as 4)).toThrow('4 or 8 bits');
  });
});
