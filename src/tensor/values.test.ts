import { expect, it } from 'vitest';
import { fromF32, isPlain, rowBytes, rowView, toF32 } from './index.ts';
import type { StorageType } from './storage.ts';

const bytesOf = (array: { buffer: ArrayBufferLike }) => new Uint8Array(array.buffer);
const cases: [StorageType, Uint8Array, number[]][] = [
  ['f32', bytesOf(Float32Array.of(1.5, -2)), [1.5, -2]],
  ['f16', bytesOf(Uint16Array.of(0x3c00, 0x8001)), [1, -(2 ** -24)]],
  ['bf16', bytesOf(Uint16Array.of(0x3f80, 0xc000)), [1, -2]],
  ['f64', bytesOf(Float64Array.of(0.5, 1 / 3)), [0.5, Math.fround(1 / 3)]],
  ['i8', Uint8Array.of(255, 1), [-1, 1]],
  ['i16', bytesOf(Int16Array.of(-300)), [-300]],
  ['i32', bytesOf(Int32Array.of(-70000)), [-70000]],
  ['i64', bytesOf(BigInt64Array.of(-5n)), [-5]],
  ['u8', Uint8Array.of(255), [255]],
  ['u16', bytesOf(Uint16Array.of(65535)), [65535]],
  ['u32', bytesOf(Uint32Array.of(2 ** 31)), [2 ** 31]],
  ['u64', bytesOf(BigUint64Array.of(2n ** 40n)), [2 ** 40]],
  ['bool', Uint8Array.of(1, 0), [1, 0]],
  ['f8_e4m3', Uint8Array.of(0x7e, 0x81), [448, -(2 ** -9)]],
  ['f8_e5m2', Uint8Array.of(0x7b), [57344]],
  ['f8_e8m0', Uint8Array.of(127, 130), [1, 8]],
  ['f8_e4m3fnuz', Uint8Array.of(0x7f), [240]],
  ['f8_e5m2fnuz', Uint8Array.of(0x7f), [57344]],
];

it.each(cases)('%s, aligned or not', (type, bytes, want) => {
  expect([...toF32(type, bytes)]).toEqual(want);
  const shifted = new Uint8Array(bytes.length + 1);
  shifted.set(bytes, 1);
  expect([...toF32(type, shifted.subarray(1))]).toEqual(want);
  const large = new Float32Array(want.length + 2);
  toF32(type, bytes, large.subarray(1, 1 + want.length));
  expect([...large]).toEqual([0, ...want, 0]);
});

it('writes float dtypes', () => {
  const x = Float32Array.of(1, 0.1, -3);
  for (const type of ['f32', 'f16', 'bf16'] as const) {
    const back = toF32(type, fromF32(type, x));
    expect(back[1]).toBeCloseTo(0.1, 3);
    expect([back[0], back[2]]).toEqual([1, -3]);
  }
});

it('refuses what is not plain values', () => {
  expect(isPlain('q4_0')).toBe(false);
  expect(() => toF32('q4_0', new Uint8Array(18))).toThrow(/not made of plain values \(got q4_0\)/);
  expect(() => toF32('f16', new Uint8Array(3))).toThrow(/not whole f16 values \(got 3, limit 2\)/);
  expect(() => toF32('f16', new Uint8Array(4), new Float32Array(1))).toThrow(/another number of values/);
});

it('views rows', () => {
  const tensor = { type: 'q4_0', shape: [2, 3, 64], bytes: new Uint8Array(6 * 36) } as const;
  expect(rowBytes('q4_0', tensor.shape)).toBe(36);
  expect(rowView(tensor, 1, 3).byteOffset).toBe(36);
  expect(rowView(tensor, 1, 3).length).toBe(72);
});
