import { describe, expect, it } from 'vitest';
import { encodeMinifloat, minifloat, minifloatValues } from '../../numeric/minifloat.ts';
import { Random } from '../../numeric/random.ts';
import { halfEven } from '../../numeric/rounding.ts';
import { nearestCodes, nearestOf, nearestTable, tableOfValues } from './nearest.ts';
import { scalarGrid, type TableName } from './tables.ts';

const random = new Random(11);

describe.each(['e2m1', 'e2m3', 'e3m2', 'e4m3', 'e5m2', 'e3m4', 'e4m3fnuz'] as const)('%s', (format) => {
  it('is the saturating minifloat encoder, ties and signs of zero included', () => {
    const values = minifloatValues(minifloat(format)).filter(Number.isFinite).sort();
    const middles = values.map((value, i) => (i === 0 ? value * 2 : (value + values[i - 1]!) / 2));
    const x = Float32Array.from([
      ...values,
      ...middles,
      ...values.map((value) => value * (1 + 0.2 * random.gaussian())),
      1e30,
      -1e30,
    ]);
    const want = Array.from(x, (value) => encodeMinifloat(minifloat(format), value + 0, { saturate: true }));
    const nearest = nearestOf(scalarGrid(format));
    // -0 itself has no side.
    expect(Array.from(x, (value) => nearest(value + 0))).toEqual(want);
  });
});

it('integers round half to even', () => {
  const nearest = nearestOf({ kind: 'integer', bits: 4, signed: true });
  for (let x = -10; x <= 10; x += 0.125) {
    expect(nearest(x)).toBe(Math.min(Math.max(halfEven(x), -8), 7) + 8);
  }
  expect([-1.5, -0.5, 0.5].map(nearestOf({ kind: 'integer', bits: 1, signed: true }))).toEqual([0, 1, 1]);
});

describe.each(['binary', 'ternary', 'nf4', 'fp4'] as TableName[])('%s', (name) => {
  it('finds what trying all values finds', () => {
    const grid = scalarGrid(name);
    const values = grid.kind === 'codebook' ? grid.values : new Float32Array(0);
    const x = Float32Array.from({ length: 500 }, () => random.gaussian());
    const codes = nearestCodes(nearestTable(grid), x, new Uint8Array(500));
    x.forEach((value, i) => {
      const distances = Array.from(values, (v) => Math.abs(value - v));
      expect(distances[codes[i]!]).toBe(Math.min(...distances));
    });
  });
});

it('tie rules', () => {
  const values = Float32Array.of(2, -2, 1, -1, 0); // codes not in order of value
  const at = (ties: Parameters<typeof tableOfValues>[1]) =>
    [...nearestCodes(tableOfValues(values, ties), [-1.5, -0.5, 0.5, 1.5], new Uint8Array(4))].map((code) => values[code]);
  expect(at({ ties: 'lowerValue' })).toEqual([-2, -1, 0, 1]);
  expect(at({ ties: 'upperValue' })).toEqual([-1, 0, 1, 2]);
  expect(at({ ties: 'lowerCode' })).toEqual([-2, -1, 1, 2]);
  expect(at({ ties: 'evenCode' })).toEqual([-1, 0, 0, 1]);
  expect(at({ ties: 'evenValue' })).toEqual([-2, 0, 0, 2]);
  expect(at({ ties: 'towardZero' })).toEqual([-1, 0, 0, 1]);
});

it('codes of equal value, and grids without one list', () => {
  const twins = Float32Array.of(1, 0, 0, 1);
  const codes = (duplicates: 'first' | 'split') => [
    ...nearestCodes(tableOfValues(twins, { duplicates }), [-1, 0, 0.1, 0.9, 2], new Uint8Array(5)),
  ];
  expect(codes('first')).toEqual([1, 1, 1, 0, 0]);
  expect(codes('split')).toEqual([1, 1, 2, 0, 3]);
  const pairs = { kind: 'codebook', values: Float32Array.of(1, 2), dim: 2, per: { rows: 0, cols: 0 } } as const;
  expect(() => nearestOf(pairs)).toThrow(/one list of values/);
  expect(() => nearestOf({ kind: 'opaque', type: 'q4_0' })).toThrow(/one list of values/);
  expect(() => scalarGrid('nf5' as TableName)).toThrow(/no such grid \(got nf5\); choose one of binary/);
  expect(() => scalarGrid([1])).toThrow(/2 to 65,536/);
});
