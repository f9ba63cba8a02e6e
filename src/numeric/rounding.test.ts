import { describe, expect, it } from 'vitest';
import { Random } from './random.ts';
import { nearestInt, type RoundingMode, rounding } from './rounding.ts';

const cases: [RoundingMode, [number, number][]][] = [
  [
    'halfEven',
    [
      [0.5, 0],
      [1.5, 2],
      [2.5, 2],
      [-0.5, -0],
      [-1.5, -2],
      [-2.5, -2],
      [-0, -0],
      [-0.2, -0],
      [0.49999999999999994, 0],
    ],
  ],
  [
    'halfAway',
    [
      [0.5, 1],
      [1.5, 2],
      [2.5, 3],
      [-0.5, -1],
      [-2.5, -3],
      [-0, -0],
      [-0.2, -0],
      [0.49999999999999994, 0],
    ],
  ],
  [
    'halfUp',
    [
      [0.5, 1],
      [2.5, 3],
      [-0.5, -0],
      [-1.5, -1],
      [-2.5, -2],
      [0.49999999999999994, 0],
    ],
  ],
  [
    'trunc',
    [
      [0.9, 0],
      [-0.9, -0],
      [-1.9, -1],
    ],
  ],
  [
    'floor',
    [
      [0.9, 0],
      [-0.1, -1],
    ],
  ],
  [
    'ceil',
    [
      [0.1, 1],
      [-0.9, -0],
    ],
  ],
];

describe.each(cases)('%s', (mode, pairs) => {
  const round = rounding[mode];
  it.each(pairs)('%d -> %d', (x, want) => expect(round(x)).toBe(want));

  it('leaves integers, big values, NaN and infinities alone', () => {
    const big = [2 ** 31, -(2 ** 52), 2 ** 52 + 1, 2 ** 53 - 1, 2 ** 53, -1e300, 3.4e38, Infinity, -Infinity, NaN];
    for (const x of big) expect(round(x)).toBe(x);
  });
});

it('is right between 2^51 and 2^52, where the spacing of f64 is one half', () => {
  expect(rounding.halfEven(2 ** 51 + 0.5)).toBe(2 ** 51);
  expect(rounding.halfEven(2 ** 51 + 1.5)).toBe(2 ** 51 + 2);
  expect(rounding.halfAway(-(2 ** 51) - 0.5)).toBe(-(2 ** 51) - 1);
  expect(rounding.halfUp(2 ** 51 + 0.5)).toBe(2 ** 51 + 1);
});

it('nearestInt is half to even on f32 values up to 4194303', () => {
  for (const [x, want] of [
    [0.5, 0],
    [1.5, 2],
    [-2.5, -2],
    [-0.4, 0],
    [4194303, 4194303],
    [-4194303.5, -4194304],
    [8.49999999999, 8],
  ]) {
    expect(nearestInt(x!)).toBe(want);
  }
  const random = new Random(3);
  for (let i = 0; i < 20000; i++) {
    const x = Math.fround((random.uniform() - 0.5) * 2 ** random.integer(23));
    expect(nearestInt(x) - rounding.halfEven(x)).toBe(0);
  }
});
