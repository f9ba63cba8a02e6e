import { describe, expect, test } from 'vitest';
import { resnetConvolution } from './data/convolution.ts';
import { machines } from './data/machines.ts';
import { decoderOf, decoderSize, decodeWork, prefillWork } from './decoder-work.ts';
import { type Machine, machineKinds, machineNamed, rateOf } from './machine.ts';
import { precisionOf, precisions } from './precision.ts';
import { published } from './published.fixture.ts';
import { convolutionWork, decoderRoofline, roofline } from './roofline.ts';

const [, fp16, w8a8, w4a16] = precisions;
const { spec } = published[1]!;
const size = decoderSize(spec);
const a100 = machineNamed('a100-80gb-sxm');
const machine: Machine = {
  name: 'round',
  title: 'Round numbers',
  kind: 'cpu',
  rates: { fp32: 1e12, int8: 4e12 },
  bandwidth: 1e11,
  memory: 16e9,
  source: 'none',
  date: '2026-11',
};

describe('the roofline', () => {
  test('takes the longer of both times', () => {
    expect(roofline({ operations: 1e12, bytes: 1e9 }, machine, 'fp32')).toEqual({
      intensity: 1000,
      ridge: 10,
      bound: 'compute',
      seconds: 1,
      attainable: 1e12,
      compute: 'fp32',
    });
    expect(roofline({ operations: 1e9, bytes: 1e9 }, machine, 'int8')).toMatchObject({
      bound: 'memory',
      ridge: 40,
      seconds: 0.01,
      attainable: 1e11,
    });
  });

  test('a machine without a type computes in a wider one, or says that it cannot', () => {
    expect(rateOf(machine, 'fp16')).toEqual({ compute: 'fp32', rate: 1e12 });
    expect(rateOf(machine, 'int4')).toEqual({ compute: 'int8', rate: 4e12 });
    expect(() => rateOf({ ...machine, rates: { int8: 1 } }, 'fp16')).toThrow(/no published rate of fp16 or wider/);
    expect(() => machineNamed('abacus')).toThrow(/ryzen-7950x/);
    expect(() => machineNamed('snapdragon')).toThrow(/no such machine/);
    expect(() => machineNamed('')).toThrow(/no such machine/);
    expect(machineNamed('H100').name).toBe('h100-sxm');
    expect(machineNamed('RTX 4090').memory).toBe(24e9);
    expect(machineNamed('t4').title).toBe('NVIDIA T4');
  });
});

describe('decode and prefill of Llama-3-8B', () => {
  test('a token at batch 1 does one operation a byte at FP16, and 4 bits are 3.15 times as fast', () => {
    const at = (precision: typeof fp16) => decoderRoofline(size, precision!, a100, 'decode', { tokens: 1 });
    expect(at(fp16).intensity).toBeCloseTo(1, 3);
    expect(at(fp16).bound).toBe('memory');
    // All weights but the embedding: 15.01 GB at 2,039 GB/s.
    expect(at(fp16).tokensPerSecond).toBeCloseTo(2039e9 / (2 * size.multiplied + 2 * 65 * 4096 + 2 * 128 * 1024), 1);
    expect(at(w8a8).intensity).toBeGreaterThan(1.85);
    // 6.979e9 weights of layers at 4.25 bits, 0.525e9 of the output matrix at 16: 4.76 of 15.01 GB.
    expect(at(w4a16).tokensPerSecond / at(fp16).tokensPerSecond).toBeCloseTo(3.154, 3);
  });

  test('a prompt is computed, a large batch too; the KV cache makes long contexts slow again', () => {
    expect(decoderRoofline(size, fp16!, a100, 'prefill', { tokens: 2048 })).toMatchObject({ bound: 'compute', fits: true });
    expect(decoderRoofline(size, fp16!, a100, 'decode', { tokens: 1, batch: 256 }).bound).toBe('compute');
    const long = decoderRoofline(size, fp16!, a100, 'decode', { tokens: 8192, batch: 256 });
    expect(long).toMatchObject({ bound: 'memory', fits: false });
    expect(a100.rates.fp16! / a100.bandwidth).toBeCloseTo(153, 0);
  });

  test('work of a prompt is that of its tokens one by one, but for the output matrix', () => {
    const prompt = prefillWork(size, fp16!, { tokens: 64 });
    let macs = 0;
    for (let t = 0; t < 64; t++) macs += decodeWork(size, fp16!, { tokens: t }).macs;
    expect(prompt.macs).toBe(macs - 63 * size.output);
    expect(prompt.cacheBytes).toBe(64 * 128 * 1024);
  });

  test('a number of parameters is enough', () => {
    const { tokensPerSecond, bound } = decoderRoofline(decoderOf(7e9), fp16!, machine, 'decode', { tokens: 0 });
    expect(tokensPerSecond).toBeCloseTo(1e11 / 14e9, 9);
    expect(bound).toBe('memory');
    const cached = { layers: 32, heads: 32, kvHeads: 32, headDim: 128 };
    const { cacheBytes } = decodeWork(decoderOf(7e9, cached), fp16!, { tokens: 4095 });
    expect(cacheBytes).toBe(2 ** 31);
  });
});

/** ikawrakow/ik_llama.cpp, discussion 164: decode of an 8B model on a Ryzen 7950X, the faster of two engines, tokens a second. */
test.each([
  [16, 0, 4.27],
  [8, 32, 7.63],
  [4, 32, 12.9],
])('nothing measured at %d bits is above the roofline, and it is not below half of it', (bits, group, measured) => {
  const precision = precisionOf({ bits, ...(group > 0 && { group, scaleBits: 16, zeroBits: 0 }) }, bits === 16 ? 16 : 8);
  const { tokensPerSecond } = decoderRoofline(size, precision, machineNamed('ryzen-7950x'), 'decode', { tokens: 128 });
  expect(measured).toBeLessThan(tokensPerSecond);
  expect(measured).toBeGreaterThan(tokensPerSecond / 2);
});

describe('a layer of a convolutional network', () => {
  const shape = resnetConvolution;

  test('does 231 million operations and reuses what it reads', () => {
    const work = convolutionWork(shape, fp16!);
    expect(work.operations).toBe(2 * 128 * 128 * 9 * 28 * 28);
    expect(work.bytes).toBe(2 * (128 * 128 * 9 + 2 * 128 * 28 * 28));
    expect(work.operations / work.bytes).toBeCloseTo(332, 0);
    expect(roofline(work, a100, 'fp16').bound).toBe('compute');
    expect(roofline(work, machineNamed('raspberry-pi-5'), 'fp32').bound).toBe('compute');
  });

  test('int8 moves half of the bytes', () => {
    expect(convolutionWork(shape, w8a8!).bytes * 2).toBe(convolutionWork(shape, fp16!).bytes);
  });
});

test('machines: names are unique, every row has rates, a bandwidth, a source and a date; every kind is there', () => {
  expect(new Set(machines.map(({ name }) => name)).size).toBe(machines.length);
  expect(new Set(machines.map(({ kind }) => kind))).toEqual(new Set(machineKinds));
  for (const { rates, bandwidth, source, date } of machines) {
    expect(Object.values(rates).every((rate) => rate > 1e9)).toBe(true);
    expect(bandwidth).toBeGreaterThan(1e9);
    expect(bandwidth).toBeLessThan(1e13);
    expect(source.length).toBeGreaterThan(10);
    expect(date).toMatch(/^20\d\d-\d\d$/);
  }
});
