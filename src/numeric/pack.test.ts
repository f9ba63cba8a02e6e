import { describe, expect, it } from 'vitest';
import { denseBytes, packBitPlanes, packDense, packPlanar, unpackBitPlanes, unpackDense, unpackPlanar } from './pack.ts';
import { Random } from './random.ts';

const random = new Random(5);
const randomCodes = (n: number, bits: number) => Uint8Array.from({ length: n }, () => random.integer(2 ** bits));

describe.each([1, 2, 3, 4, 5, 6, 7, 8])('%d bits', (bits) => {
  it('unpacks what it packed, for any number of codes', () => {
    for (let round = 0; round < 60; round++) {
      const codes = randomCodes(random.integer(200), bits);
      const n = codes.length;
      const dense = packDense(codes, bits);
      expect(dense.length).toBe(denseBytes(n, bits));
      expect(unpackDense(dense, bits, n)).toEqual(codes);
      const order = random.shuffle([...Array(1 + random.integer(9)).keys()]);
      expect(unpackDense(packDense(codes, bits, { order }), bits, n, { order })).toEqual(codes);
      expect(unpackBitPlanes(packBitPlanes(codes, bits), bits, n)).toEqual(codes);
    }
  });

  it('agrees with a big integer: code i at bit i * bits', () => {
    const codes = randomCodes(77, bits);
    let whole = 0n;
    for (const [i, code] of codes.entries()) whole |= BigInt(code) << BigInt(i * bits);
    const bytes = packDense(codes, bits, { bytes: 100 });
    expect(bytes.length).toBe(100);
    expect(bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n)).toBe(whole);
  });
});

it.each([1, 2, 4, 8])('planar packing of %d bits is its own inverse', (bits) => {
  for (const block of [8, 32, 64]) {
    const codes = randomCodes(block * 5, bits);
    expect(unpackPlanar(packPlanar(codes, bits, block), bits, block, codes.length)).toEqual(codes);
  }
});

it('writes the layouts that containers expect', () => {
  const nibbles = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
  expect([...packDense(nibbles, 4)]).toEqual([0x21, 0x43, 0x65, 0x87]);
  expect([...packDense(nibbles, 4, { order: [1, 0] })]).toEqual([0x12, 0x34, 0x56, 0x78]);
  expect([...packDense(nibbles, 4, { order: [0, 2, 4, 6, 1, 3, 5, 7] })]).toEqual([0x31, 0x75, 0x42, 0x86]);
  expect([...packPlanar(nibbles, 4, 8)]).toEqual([0x51, 0x62, 0x73, 0x84]);
  expect([...packDense(Uint8Array.of(7, 0, 7), 3)]).toEqual([0xc7, 0x01]);
  expect([...packBitPlanes(Uint8Array.of(1, 2, 3), 2)]).toEqual([0b101, 0b110]);
});

it('refuses what does not fit', () => {
  expect(() => packDense(Uint8Array.of(1), 9)).toThrow(/cannot be packed \(got 9, limit 1..8 bits\)/);
  expect(() => unpackDense(new Uint8Array(3), 4, 7)).toThrow(/7 codes of 4 bits do not fit \(got 4, limit 3\)/);
  expect(() => unpackDense(new Uint8Array(3), 4, 1e15)).toThrow(/do not fit/);
  expect(() => unpackBitPlanes(new Uint8Array(3), 4, 7)).toThrow(/do not fit/);
  expect(() => packDense(Uint8Array.of(1, 2), 4, { order: [0, 2] })).toThrow(/not a permutation/);
  expect(() => packPlanar(new Uint8Array(12), 4, 8)).toThrow(/do not fill planar blocks/);
  expect(() => packPlanar(new Uint8Array(12), 3, 4)).toThrow(/width that divides 8/);
});
