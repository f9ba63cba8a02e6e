import { expect, test } from 'vitest';
import { permuteIndex, unpermuteIndex } from './permute.ts';

test('is reshape(heads, 2, d / 2).swapaxes(1, 2)', () => {
  // Two heads of four rows: halves (0 1 | 2 3) interleave to 0 2 1 3.
  expect([...permuteIndex(8, 2)]).toEqual([0, 2, 1, 3, 4, 6, 5, 7]);
  expect([...permuteIndex(6, 1)]).toEqual([0, 3, 1, 4, 2, 5]);
});

test('the inverse undoes it', () => {
  const [forward, back] = [permuteIndex(60, 3), unpermuteIndex(60, 3)];
  expect([...back].map((row) => forward[row])).toEqual([...back.keys()]);
});

test('heads must have an even number of rows', () => {
  expect(() => permuteIndex(9, 3)).toThrow(/9 rows are not 3 heads/);
  expect(() => permuteIndex(8, 3)).toThrow(/8 rows are not 3 heads/);
});
