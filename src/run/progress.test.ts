import { expect, test } from 'vitest';
import type { PlacedTensor } from '../format/types.ts';
import { Progress, type ProgressEvent } from './progress.ts';

const tensor = (source: string, rows: number, cols: number) =>
  ({ source, shape: [rows, cols], from: { rows, cols } }) as unknown as PlacedTensor;

test('counts tensors, values and time', () => {
  const events: ProgressEvent[] = [];
  const progress = new Progress([tensor('a', 4, 8), tensor('empty', 0, 8), tensor('b', 2, 8)], (event) => events.push(event));
  progress.add(0, [2, 4]);
  progress.add(2, [0, 2]);
  progress.add(0, [0, 2]);
  expect(events.map(({ tensors, values, name }) => [tensors, values, name])).toEqual([
    [1, 16, 'a'],
    [2, 32, 'b'],
    [3, 48, 'a'],
  ]);
  expect(events.at(-1)).toMatchObject({ tensorCount: 3, valueCount: 48, secondsLeft: 0 });
  expect(events.every(({ bytesPerSecond, secondsLeft }) => bytesPerSecond > 0 && secondsLeft >= 0)).toBe(true);
});

test('nobody has to listen', () => {
  expect(() => new Progress([tensor('a', 1, 1)]).add(0, [0, 1])).not.toThrow();
});
