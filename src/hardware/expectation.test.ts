import { describe, expect, test } from 'vitest';
import { apart, reasonsOf, type StepFacts, withOverhead } from './expectation.ts';

describe('overhead beside the roofline', () => {
  test('adds up, and the larger part bounds', () => {
    expect(withOverhead({ seconds: 3e-3, bound: 'memory' }, 1e-3)).toEqual({
      seconds: 4e-3,
      overheadSeconds: 1e-3,
      bound: 'memory',
    });
    expect(withOverhead({ seconds: 1e-4, bound: 'compute' }, 4e-4)).toMatchObject({ seconds: 5e-4, bound: 'overhead' });
  });
});

const facts = (over: Partial<StepFacts> & { overhead?: number }): StepFacts => {
  const roofline = over.roofline ?? 1e-3;
  return {
    measured: 1e-3,
    roofline,
    memoryRoofline: roofline,
    products: roofline,
    dequantizes: false,
    expected: withOverhead({ seconds: roofline, bound: 'memory' }, over.overhead ?? 0),
    ...over,
  };
};
const codes = (over: Parameters<typeof facts>[0]) => reasonsOf(facts(over)).map(({ code }) => code);

describe('reasons', () => {
  test('none within a factor of two of everything', () => {
    expect(codes({})).toEqual([]);
    expect(codes({ measured: 1.99e-3, products: 1.9e-3, dequantizes: true })).toEqual([]);
    expect(codes({ measured: 0.51e-3 })).toEqual([]);
  });

  test.each<[string, Parameters<typeof facts>[0], string[]]>([
    ['most of the step is overhead', { measured: 5e-3, overhead: 3.5e-3 }, ['overhead']],
    ['the cache is faster than memory', { measured: 1.2e-3, memoryRoofline: 8e-3 }, ['cache']],
    ['weights come from memory', { measured: 6e-3, memoryRoofline: 6e-3 }, ['evicted', 'beside-products']],
    ['weights are widened', { measured: 5e-3, products: 4e-3, dequantizes: true }, ['dequantization']],
    ['products are slow', { measured: 5e-3, products: 4e-3 }, ['small-products']],
    ['products are slow, and the rest too', { measured: 5e-3, products: 2e-3 }, ['small-products', 'beside-products']],
    ['products are as fast as the roofline', { measured: 5e-3, products: 1.2e-3 }, ['beside-products']],
    ['faster than expected', { measured: 0.4e-3 }, ['faster-than-probe']],
  ])('%s', (_, over, expected) => {
    expect(codes(over)).toEqual(expected);
  });

  test('whatever is apart has a reason', () => {
    for (let i = 0; i < 2 ** 12; i++) {
      const pick = (shift: number, values: readonly number[]) => values[(i >> shift) & (values.length - 1)]!;
      const one = facts({
        measured: pick(0, [1e-5, 1e-4, 6e-4, 1e-3, 1.9e-3, 2.1e-3, 1e-2, 1]),
        overhead: pick(3, [0, 1e-4, 1e-3, 5e-3]),
        memoryRoofline: pick(5, [1e-3, 2e-3, 1e-2, 2e-2]),
        products: pick(7, [1e-4, 1e-3, 3e-3, 1e-1]),
        dequantizes: pick(9, [0, 1]) === 1,
      });
      const ratio = one.measured / one.expected.seconds;
      if (ratio > apart || ratio < 1 / apart) expect(reasonsOf(one).length, JSON.stringify(one)).toBeGreaterThan(0);
    }
  });
});
