import { describe, expect, it } from 'vitest';
import { decodeBf16, decodeBf16Array, encodeBf16, encodeBf16Array, roundBf16 } from './bf16.ts';
import { decodeF16, decodeF16Array, encodeF16, encodeF16Array, roundF16 } from './f16.ts';
import { floatTypes } from './float.ts';
import { encodeMinifloat, minifloats } from './minifloat.ts';
import { Random } from './random.ts';

/** Random bit patterns of f32, NaN excluded, and the neighbourhood of every tie between two f16 values. */
function samples(): Float32Array {
  const random = new Random(1);
  const bits = Uint32Array.from({ length: 100_000 }, () => random.bits32());
  for (let i = 0; i < 50_000; i++) {
    const tie = decodeF16(random.integer(0x7c00)) + decodeF16(random.integer(4)) / 2;
    bits[i] = new Uint32Array(Float32Array.of(tie).buffer)[0]! + random.integer(3) - 1;
  }
  return new Float32Array(bits.buffer).filter((x) => !Number.isNaN(x));
}

describe('f16', () => {
  it.each([
    [1, 0x3c00],
    [-0, 0x8000],
    [65504, 0x7bff],
    [65519.99, 0x7bff],
    [65520, 0x7c00],
    [-1e9, 0xfc00],
    [2 ** -14, 0x0400],
    [2 ** -24, 0x0001],
    [2 ** -25, 0x0000],
    [2 ** -25 + 2 ** -40, 0x0001],
    [3 * 2 ** -25, 0x0002],
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02],
    [Infinity, 0x7c00],
    [NaN, 0x7e00],
  ])('%d -> %d', (x, want) => expect(encodeF16(x)).toBe(want));

  it('agrees with the table-driven encoder on 100,000 values', () => {
    const x = samples();
    const fast = encodeF16Array(x);
    for (let i = 0; i < x.length; i++) {
      if (fast[i] !== encodeMinifloat(minifloats.f16, x[i]!)) throw new Error(`${x[i]} -> ${fast[i]}`);
    }
  });

  it('keeps every value and every NaN payload through arrays', () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const bits = new Uint32Array(decodeF16Array(all).buffer);
    expect(bits[0x7e01]).toBe(0x7fc02000);
    expect(bits[0xfe00]).toBe(0xffc00000);
    const back = encodeF16Array(new Float32Array(bits.buffer));
    const isNan = (half: number) => (half & 0x7fff) > 0x7c00;
    for (const half of all) expect(back[half]).toBe(isNan(half) ? (half & 0x8000) | 0x7e00 : half);
  });
});

describe('bf16', () => {
  it.each([
    [1, 0x3f80],
    [1 + 2 ** -8, 0x3f80],
    [1 + 3 * 2 ** -8, 0x3f82],
    [3.4028234663852886e38, 0x7f80],
    [-0, 0x8000],
    [2 ** -149, 0x0000],
    [2 ** -133, 0x0001],
    [NaN, 0x7fc0],
  ])('%d -> %d', (x, want) => expect(encodeBf16(x)).toBe(want));

  it('agrees with the table-driven encoder and keeps NaN payloads', () => {
    const x = samples();
    const fast = encodeBf16Array(x);
    for (let i = 0; i < x.length; i++) {
      if (fast[i] !== encodeMinifloat(minifloats.bf16, x[i]!)) throw new Error(`${x[i]} -> ${fast[i]}`);
    }
    const nan = new Float32Array(Uint32Array.of(0x7f800001, 0xffc12345).buffer);
    expect([...encodeBf16Array(nan)]).toEqual([0x7fc0, 0xffc1]);
    expect(new Uint32Array(decodeBf16Array(Uint16Array.of(0xffc1)).buffer)[0]).toBe(0xffc10000);
    expect(decodeBf16(0x3f80)).toBe(1);
  });
});

it('rounds in place in each float type', () => {
  const values = Float64Array.of(1 / 3, 1e5, 0.1);
  floatTypes.f16.roundRun(values, 0, 1);
  floatTypes.bf16.roundRun(values, 1, 2);
  floatTypes.f32.roundRun(values, 2, 3);
  expect([...values]).toEqual([roundF16(1 / 3), roundBf16(1e5), Math.fround(0.1)]);
  for (const type of Object.values(floatTypes)) {
    expect(type.round(1 + type.epsilon)).toBe(1 + type.epsilon);
    expect(type.round(1 + type.epsilon / 4)).toBe(type.bits === 64 ? 1 + type.epsilon / 4 : 1);
    expect(type.round(type.max)).toBe(type.max);
  }
});
