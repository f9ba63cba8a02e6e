import { expect, it } from 'vitest';
import { Random, splitMix64 } from './random.ts';

it('SplitMix64 gives its published sequence', () => {
  expect(splitMix64(1234567n, 3)).toEqual([6457827717110365317n, 3203168211198807973n, 9817491932198370423n]);
});

it('fixes the first numbers of a seed', () => {
  const first = (seed: number) => {
    const random = new Random(seed);
    return Array.from({ length: 6 }, () => random.bits32());
  };
  expect(first(0)).toEqual([3737715805, 2584255861, 2876756834, 3286328325, 1553311962, 1625202774]);
  expect(first(1)).toEqual([1695105466, 1423115009, 634581793, 1068227753, 716759206, 4186505319]);
  expect(first(-1)).not.toEqual(first(1));
});

it('is uniform in [0, 1)', () => {
  const random = new Random(7);
  const bins = new Array(10).fill(0);
  for (let i = 0; i < 100_000; i++) bins[Math.floor(random.uniform() * 10)]++;
  // Chi-squared with 9 degrees of freedom is below 27.9 in 999 of 1000 cases.
  expect(bins.reduce((sum, n) => sum + (n - 10_000) ** 2 / 10_000, 0)).toBeLessThan(27.9);
});

it('draws integers without bias', () => {
  const random = new Random(8);
  const n = 3 * 2 ** 30; // a modulo alone would draw the lowest third twice as often
  let low = 0;
  for (let i = 0; i < 30_000; i++) if (random.integer(n) < 2 ** 30) low++;
  expect(Math.abs(low / 30_000 - 1 / 3)).toBeLessThan(0.01);
  expect(random.integer(1)).toBe(0);
  expect(new Random(9).shuffle([1, 2, 3, 4, 5])).not.toEqual([1, 2, 3, 4, 5]);
});

it('draws gaussians', () => {
  const random = new Random(10);
  let sum = 0;
  let squares = 0;
  let fourth = 0;
  const n = 100_000;
  for (let i = 0; i < n; i++) {
    const x = random.gaussian();
    sum += x;
    squares += x * x;
    fourth += x ** 4;
  }
  expect(Math.abs(sum / n)).toBeLessThan(0.01);
  expect(Math.abs(squares / n - 1)).toBeLessThan(0.02);
  expect(Math.abs(fourth / n - 3)).toBeLessThan(0.15);
  expect(new Random(0).gaussian()).toBe(new Random(0).gaussian());
});
