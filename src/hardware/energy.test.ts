import { describe, expect, test } from 'vitest';
import { energy45nm } from './data/energy-45nm.ts';
import { decoderOf, decoderSize } from './decoder-work.ts';
import { energyOf, layerEnergy, macsPerSquareMillimetre, tokenEnergy } from './energy.ts';
import { precisionOf, precisions } from './precision.ts';
import { published } from './published.fixture.ts';

const [fp32, fp16, w8a8, w4a16] = precisions as [...typeof precisions] & { length: 4 };

describe("Horowitz's table", () => {
  const { add, multiply } = energy45nm.energy;

  test('an INT8 addition is 30 times below FP32, an INT8 multiplication 18 times', () => {
    expect(add.fp32! / add.int8!).toBeCloseTo(30, 9);
    expect(multiply.fp32! / multiply.int8!).toBeCloseTo(18.5, 9);
    expect(Math.floor(multiply.fp32! / multiply.int8!)).toBe(18);
  });

  test('areas: an INT8 addition is 116 times smaller than FP32, an INT8 multiplication 27 times', () => {
    const { area } = energy45nm;
    expect(area!.add.fp32! / area!.add.int8!).toBeCloseTo(116.2, 1);
    expect(area!.multiply.fp32! / area!.multiply.int8!).toBeCloseTo(27.3, 1);
  });

  test('64 bits from DRAM cost as much as 1,444 FP32 additions at least, those of 8 KB SRAM 11', () => {
    expect(energy45nm.dram.least / add.fp32!).toBeCloseTo(1444.4, 1);
    expect(energy45nm.sram[0]!.picojoules / add.fp32!).toBeCloseTo(11.1, 1);
  });

  test('MACs on a square millimetre: 28 times as many of INT8 with an INT32 sum as of FP32', () => {
    expect(macsPerSquareMillimetre('fp32')).toBeCloseTo(84.1, 1);
    expect(macsPerSquareMillimetre('fp16')).toBeCloseTo(333.3, 1);
    expect(macsPerSquareMillimetre('int8')).toBeCloseTo(2386.6, 1);
    expect(() => macsPerSquareMillimetre('int4')).toThrow(/no area of int4/);
  });
});

describe('energy', () => {
  test('is what operations and bits cost', () => {
    const { picojoules, byOperation } = energyOf(
      { macs: 1000, compute: 'int8', dramBits: 640, sramBits: 6400 },
      { sramBytes: 8192 },
    );
    expect(byOperation.multiply).toBeCloseTo(200, 9);
    expect(byOperation.add).toBeCloseTo(100, 9);
    expect(byOperation.sram).toBeCloseTo(1000, 9);
    expect(byOperation.dram).toBeCloseTo(13_000, 9);
    expect(picojoules).toBeCloseTo(14_300, 9);
    const most = energyOf({ macs: 0, compute: 'fp32', dramBits: 64, sramBits: 0 }, { dram: 'most' });
    expect(most.picojoules).toBe(2600);
    const levels = [1, 8192, 8193, 2 ** 20, 2 ** 30].map(
      (sramBytes) => energyOf({ macs: 0, compute: 'fp32', dramBits: 0, sramBits: 64 }, { sramBytes }).picojoules,
    );
    expect(levels).toEqual([10, 10, 20, 100, 100]);
  });

  test('of a layer: one token pays for moving weights, many share that', () => {
    const shape = { out: 4096, in: 4096 };
    const one = layerEnergy({ ...shape, tokens: 1 }, fp16);
    const macs = 4096 * 4096;
    expect(one.byOperation.multiply).toBeCloseTo(macs * 1.1, 3);
    expect(one.byOperation.dram).toBeCloseTo((macs * 16 * 1300) / 64, 3);
    expect(one.byOperation.dram / one.picojoules).toBeGreaterThan(0.8);
    const rows = layerEnergy({ ...shape, tokens: 1 }, precisionOf({ bits: 8, group: -1, zeroBits: 0 }));
    expect(rows.byOperation.dram).toBeCloseTo(((macs * 8 + 4096 * 16) * 1300) / 64, 3);
    const many = layerEnergy({ ...shape, tokens: 4096 }, fp16);
    expect(many.byOperation.dram).toBe(one.byOperation.dram);
    expect(many.byOperation.dram / many.picojoules).toBeLessThan(0.05);
  });

  test('of a token: fewer bits cost less, by nearly the ratio of bytes', () => {
    const size = decoderSize(published[0]!.spec);
    const [a, b, c, d] = [fp32, fp16, w8a8, w4a16].map((precision) => tokenEnergy(size, precision!, { tokens: 512 }).picojoules);
    expect(a! / b!).toBeCloseTo(2.0, 1);
    expect(b! / c!).toBeGreaterThan(1.6);
    expect(c! / d!).toBeGreaterThan(1.2);
    // 7 billion weights of 16 bits, 20.3 pJ a bit from DRAM and 2 x 1.56 through 1 MB of SRAM: 2.6 J.
    expect(b! / 1e12).toBeGreaterThan(2.4);
    expect(b! / 1e12).toBeLessThan(3.0);
  });

  test('of a token in a batch: weights are shared', () => {
    const size = decoderOf(7e9);
    const one = tokenEnergy(size, fp16, { tokens: 0 });
    const eight = tokenEnergy(size, fp16, { tokens: 0, batch: 8 });
    expect(eight.byOperation.dram * 8).toBeCloseTo(one.byOperation.dram, -3);
    expect(eight.byOperation.multiply).toBeCloseTo(one.byOperation.multiply, -3);
  });

  test('integers need inputs of at most 8 bits; types without a table row are refused', () => {
    expect(precisionOf({ bits: 4 })).toMatchObject({ name: 'W4A16', compute: 'fp16' });
    expect(precisionOf({ bits: 4 }, 8)).toMatchObject({ name: 'W4A8', compute: 'int8' });
    expect(precisionOf({ bits: 8 })).toMatchObject({ name: 'W8A8', compute: 'int8' });
    expect(precisionOf({ bits: 8 }, 16)).toMatchObject({ name: 'W8A16', compute: 'fp16' });
    expect(precisionOf({ bits: 16 })).toMatchObject({ name: 'FP16', compute: 'fp16' });
    expect(() => precisionOf({ bits: 16 }, 8)).toThrow(/W16A8/);
    expect(() => precisionOf({ bits: 8 }, 4)).toThrow(/W8A4/);
  });
});
