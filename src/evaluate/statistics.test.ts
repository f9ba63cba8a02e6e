import { expect, it } from 'vitest';
import { quantile, RunningMean } from './statistics.ts';

it('gives mean and standard error', () => {
  const m = new RunningMean();
  for (const x of [1, 2, 3, 6]) m.add(x);
  expect(m.mean).toBe(3);
  // Sample variance 14 / 3, over 4 values.
  expect(m.standardError).toBeCloseTo(Math.sqrt(14 / 3 / 4), 14);
  const one = new RunningMean();
  one.add(5);
  expect(one.standardError).toBe(0);
});

it('takes quantiles linearly between neighbours', () => {
  const sorted = [1, 2, 4, 8];
  expect([0, 0.5, 0.9, 1].map((q) => quantile(sorted, q))).toEqual([1, 3, 4 + 0.7 * 4, 8].map((v) => expect.closeTo(v, 12)));
  expect(quantile([7], 0.99)).toBe(7);
});
