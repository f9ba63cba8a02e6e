/** Binary and ternary weights as DeepSpeed (edaa722) makes them. */
import { expect, it } from 'vitest';
import { dequantizeTile } from '../index.ts';
import { quantizeByMean } from './deepspeed.ts';
import { golden } from './golden.fixture.node.ts';

const { values } = golden('zeroquant/deepspeed');
const W = values('W');
const place = { name: 'W', shape: [48, 128] as const, from: 0, to: 48 };

it.each(['ternary', 'binary'] as const)('DeepSpeed edaa722 %s: exact', (grid) => {
  expect(dequantizeTile(quantizeByMean(W, place, { grid, granularity: 'channel' }))).toEqual(values(`w.${grid}_g48`));
});

it('flat runs, and granularity tensor, are runs of the flattened weight', () => {
  const channel = dequantizeTile(quantizeByMean(W, place, { grid: 'ternary', granularity: 'channel' }));
  expect(dequantizeTile(quantizeByMean(W, place, { grid: 'ternary', granularity: { flat: 128 } }))).toEqual(channel);
  const tensor = quantizeByMean(W, place, { grid: 'binary', granularity: 'tensor' });
  expect(tensor.scale!.values).toHaveLength(1);
  const mean = W.reduce((sum, value) => sum + Math.abs(value), 0) / W.length;
  expect(tensor.scale!.values[0]).toBeCloseTo(mean, 8);
});

it('a run of zeros gets the scale 0, not NaN', () => {
  const x = new Float32Array(8).fill(1, 4);
  const zeros = { name: 'x', shape: [2, 4] as const, from: 0, to: 2 };
  for (const grid of ['binary', 'ternary'] as const) {
    const tile = quantizeByMean(x, zeros, { grid, granularity: 'channel' });
    expect([...tile.scale!.values]).toEqual([0, 1]);
    expect(dequantizeTile(tile)).toEqual(x);
  }
});
