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
  expect(events.at(-1)).toMatchObject({ tensorCount: 3, valueCount: 48 });
  expect(events.every((event) => !('bytesPerSecond' in event))).toBe(true);
});

test('tells rate and time left once start-up is over', async () => {
  const events: ProgressEvent[] = [];
  const progress = new Progress([tensor('a', 4, 8)], (event) => events.push(event));
  await new Promise((resolve) => setTimeout(resolve, 750));
  progress.add(0, [0, 1]);
  progress.add(0, [1, 4]);
  expect(events[0]!.bytesPerSecond).toBeLessThan((4 * 8) / 0.75);
  expect(events[0]!.secondsLeft).toBeGreaterThan(3 * 0.7);
  expect(events[1]!.secondsLeft).toBe(0);
});

test('nobody has to listen', () => {
  expect(() => new Progress([tensor('a', 1, 1)]).add(0, [0, 1])).not.toThrow();
});
