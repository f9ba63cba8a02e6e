import { expect, test } from 'vitest';
import { permuteIndex, unpermuteIndex } from '../model/index.ts';
import { rowMultipleOf, rowStep, storedRow } from './row-order.ts';

test.each([
  [8, 2],
  [64, 4],
  [60, 3],
  [2, 1],
])('%i rows of %i heads: what the converter does, and back', (rows, heads) => {
  const all = (way: 'interleave' | 'deinterleave') => Array.from({ length: rows }, (_, r) => storedRow({ heads, way }, rows, r));
  expect(all('interleave')).toEqual([...permuteIndex(rows, heads)]);
  expect(all('deinterleave')).toEqual([...unpermuteIndex(rows, heads)]);
});

test('ranges of rows hold whole heads', () => {
  const ordered = { rows: 64, cols: 10, order: { heads: 4, way: 'interleave' as const } };
  expect(rowMultipleOf(ordered)).toBe(16);
  expect(rowMultipleOf({ rows: 64, cols: 10 })).toBe(1);
  expect(rowStep(400, ordered)).toBe(32);
  expect(rowStep(1, ordered)).toBe(16);
  expect(rowStep(400, { rows: 64, cols: 10 }, ordered)).toBe(32);
  expect(rowStep(400, { rows: 64, cols: 10 })).toBe(40);
  expect(rowStep(1, { rows: 5, cols: 0 })).toBe(1);
});
