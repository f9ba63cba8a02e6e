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

test('what is left is told by work, passes through layers included, as soon as there is some', async () => {
  const events: ProgressEvent[] = [];
  const work = {
    tensors: [10, 300],
    nodes: new Map([
      ['capture', 1000],
      ['solve', 190],
      ['again', 500],
    ]),
  };
  const progress = new Progress([tensor('a', 4, 8), tensor('b', 4, 8)], (event) => events.push(event), work);
  await new Promise((resolve) => setTimeout(resolve, 750));
  progress.skip('again');
  progress.add(0, [0, 4]); // 10 of 1500: no basis yet
  progress.begin('capture', 'inputs');
  progress.part(0.5); // 510 of 1500
  progress.end();
  progress.begin('solve', 'solving');
  progress.end();
  progress.add(1, [0, 2], true); // an earlier run's: 150 less to do
  progress.add(1, [2, 4]);
  expect(events.map(({ name, secondsLeft }) => [name, secondsLeft === undefined])).toEqual([
    ['a', true],
    ['inputs', true],
    ['inputs', false],
    ['solving', false],
    ['b', false],
    ['b', false],
  ]);
  const shares = events.slice(2).map(({ secondsLeft }) => 0.75 / (0.75 + secondsLeft!));
  for (const [i, share] of [510 / 1500, 1010 / 1500, 1200 / 1350, 1].entries()) expect(shares[i]).toBeCloseTo(share, 1);
});

test('nobody has to listen', () => {
  expect(() => new Progress([tensor('a', 1, 1)]).add(0, [0, 1])).not.toThrow();
});
