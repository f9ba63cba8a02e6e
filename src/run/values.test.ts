import { expect, test } from 'vitest';
import { syntheticBag } from '../format/synthetic.fixture.ts';
import { fromF32 } from '../tensor/index.ts';
import { valueSummaries } from './values.ts';

async function summary(values: readonly number[]) {
  const bytes = fromF32('f32', Float32Array.from(values));
  const bag = await syntheticBag([['a', { type: 'f32', shape: [values.length / 2, 2], bytes }]]);
  return (await valueSummaries(bag.tensors))[0];
}

test('smallest, largest, mean and deviation', async () => {
  expect(await summary([1, -3, 2, 4])).toEqual({
    min: -3,
    max: 4,
    absmax: 4,
    mean: 1,
    standardDeviation: Math.sqrt(26 / 4),
    outlierRatio: 0,
    nonFinite: 0,
  });
});

test('outliers are beyond six standard deviations; NaN and Inf are counted and left out', async () => {
  const values = Array.from({ length: 998 }, (_, i) => (i % 2 ? 1 : -1));
  expect((await summary([...values, 100, -1]))!.outlierRatio).toBe(1 / 1000);
  expect(await summary([1, Number.NaN, -1, Number.NEGATIVE_INFINITY])).toMatchObject({ min: -1, max: 1, nonFinite: 2 });
  expect(await summary([Number.NaN, Number.NaN])).toBeUndefined();
});

test('integers have no such values', async () => {
  const bag = await syntheticBag([['ids', { type: 'i32', shape: [2, 1], bytes: new Uint8Array(8) }]]);
  expect(await valueSummaries(bag.tensors)).toEqual([undefined]);
});
