/** HQQ as hqq 0.2.8.post1 does it on a CPU: codes, scales, zeros and the error of each iteration. */
import { describe, expect, it } from 'vitest';
import { Random } from '../numeric/random.ts';
import { dequantizeTile } from './dequantize.ts';
import { type HqqOptions, hqqErrors, hqqIterations, hqqMatrix, hqqRows } from './hqq.ts';
import { largestDifference, readMethodGolden } from './method-golden.fixture.node.ts';
import { quantizeMatrix } from './whole-matrix.ts';

interface Case {
  case: string;
  nbits: number;
  group_size: number;
  axis: 0 | 1;
  optimize: boolean;
  round_zero: boolean;
  errors_per_iteration: number[];
  iterations: number;
  mean_abs_error: number;
}

const golden = readMethodGolden<Case>('hqq/weights_64x128');
const { shape, values: w } = golden.tensor('W');
const size = shape as [number, number];

describe.each(golden.cases)('hqq 0.2.8.post1 $case', (c) => {
  const options: HqqOptions = {
    bits: c.nbits,
    group: c.group_size,
    axis: c.axis,
    roundZero: c.round_zero,
    ...(!c.optimize && { iterations: 0 }),
  };
  const tile = hqqMatrix(w, size, options);

  it('iterations and their errors', () => {
    const errors = hqqErrors(w, options);
    expect(c.optimize ? hqqIterations(errors, w.length) : 0).toBe(c.iterations);
    // Zeros near 128 are 1.5e-5 apart in f32, and codes near ties go by the last bit of the zero.
    const tolerance = c.nbits === 8 ? 1e-4 : 1e-6;
    for (const [i, error] of c.errors_per_iteration.entries()) {
      expect(Math.abs(errors[i]! / w.length / error - 1)).toBeLessThan(tolerance);
    }
  });

  it('codes, scales and zeros', () => {
    expect(tile.codes).toEqual(Uint8Array.from(golden.values(`${c.case}.codes`)));
    const scale = golden.values(`${c.case}.scale`);
    for (const [i, s] of scale.entries()) expect(Math.abs(tile.scale!.values[i]! - s)).toBeLessThanOrEqual(s * 2 ** -23);
    const zero = largestDifference(tile.zero!.levels.values, golden.values(`${c.case}.zero`));
    expect(zero).toBeLessThanOrEqual(c.nbits === 8 ? 1e-4 : 1e-5);
  });

  it('dequantized', () => {
    const decoded = dequantizeTile(tile);
    let sum = 0;
    for (const [i, x] of w.entries()) sum += Math.abs(x - decoded[i]!);
    expect(sum / w.length / c.mean_abs_error - 1).toBeCloseTo(0, 6);
    if (golden.has(`${c.case}.dequantized`)) {
      expect(largestDifference(decoded, golden.values(`${c.case}.dequantized`))).toBeLessThan(1e-6);
    }
  });
});

describe('HQQ', () => {
  const random = new Random(7);
  const x = Float32Array.from({ length: 32 * 64 }, () => 0.05 * random.gaussian() * (random.uniform() < 0.03 ? 6 : 1));
  const norm = (a: Float32Array, b: Float32Array): number => a.reduce((sum, v, i) => sum + Math.abs(v - b[i]!) ** 0.7, 0);
  const pieces = (options: HqqOptions) =>
    [0, 8, 20, 32].slice(1).map((to, i) => {
      const from = [0, 8, 20][i]!;
      return hqqRows(x.slice(from * 64, to * 64), { name: 'm', shape: [32, 64], from, to }, options);
    });

  it('gives the same rows however they are cut, with the iterations of the whole', () => {
    const options = { bits: 3, group: 32 };
    const whole = hqqMatrix(x, [32, 64], options);
    const sums = new Float64Array(20);
    for (const [from, to] of [
      [0, 8],
      [8, 20],
      [20, 32],
    ] as const) {
      for (const [i, e] of hqqErrors(x.slice(from * 64, to * 64), options).entries()) sums[i]! += e;
    }
    const tiles = pieces({ ...options, iterations: hqqIterations(sums, x.length) });
    expect(tiles.flatMap((t) => [...t.codes])).toEqual([...whole.codes]);
    expect(tiles.flatMap((t) => [...t.zero!.levels.values])).toEqual([...whole.zero!.levels.values]);
  });

  it.each([4, 3, 2, 1])(
    'has a smaller p-norm of errors than its start at %i bits, and refinement a smaller one again',
    (bits) => {
      const of = (options: Partial<HqqOptions>) =>
        norm(x, dequantizeTile(hqqMatrix(x, [32, 64], { bits, group: 64, ...options })));
      const start = of({ iterations: 0 });
      const found = of({});
      const refined = of({ refineScale: true });
      expect(found).toBeLessThan(start);
      expect(refined).toBeLessThan(0.999 * found);
    },
  );

  it.each(['f16', 'bf16'] as const)('takes codes by scales and zeros stored as %s', (stored) => {
    const tile = hqqMatrix(x, [32, 64], { bits: 4, group: 64, stored });
    const decoded = dequantizeTile(tile);
    for (const [i, v] of x.entries()) {
      const s = tile.scale!.values[Math.floor(i / 64)]!;
      const [code, near] = [tile.codes[i]!, Math.abs(v - decoded[i]!)];
      if (code > 0 && code < 15) expect(near).toBeLessThanOrEqual(0.5001 * s);
    }
  });

  it('keeps groups that cross rows, constant groups and zeros', () => {
    const odd = Float32Array.from({ length: 6 * 24 }, (_, i) => (i < 48 ? 0 : i < 96 ? 0.25 : Math.sin(i)));
    const tile = hqqMatrix(odd, [6, 24], { bits: 4, group: 48 });
    expect(tile.scale!.per).toEqual({ flat: 48 });
    expect(tile.scale!.values).toHaveLength(3);
    const decoded = dequantizeTile(tile);
    expect([...decoded.subarray(0, 48)]).toEqual(Array(48).fill(0));
    expect(largestDifference(decoded.subarray(48, 96), odd.subarray(48, 96))).toBeLessThan(1e-6);
  });

  it('refuses groups that do not fit and NaN', () => {
    expect(() => hqqMatrix(x, [32, 64], { bits: 4, group: 60 })).toThrow(/groups of 60|groups/);
    expect(() => hqqMatrix(x, [32, 64], { bits: 4, group: 64, axis: 0 })).toThrow('axis 0');
    expect(() => hqqMatrix(Float32Array.of(1, Number.NaN), [1, 2], { bits: 4, group: 2 })).toThrow('NaN');
    expect(() => hqqMatrix(x, [32, 64], { bits: 9, group: 64 })).toThrow('1..8 bits');
    const huge = Float32Array.from({ length: 64 }, (_, i) => 3000 + i * 1e-3);
    expect(() => hqqMatrix(huge, [1, 64], { bits: 4, group: 64, stored: 'f16' })).toThrow('overflows f16');
  });

  it('as a range moves the limits of each group: a smaller p-norm than minmax, for float, minimum and integer zeros', () => {
    for (const zero of ['float', 'minimum', 'integer'] as const) {
      for (const bits of [4, 3, 2]) {
        const scheme = { kind: 'integer', bits, symmetric: false, granularity: { group: 64 }, scaleType: 'f16', zero } as const;
        const of = (range: 'hqq' | 'minmax') => norm(x, quantizeMatrix(x, [32, 64], { ...scheme, range }).dequantized());
        // A zero that is rounded leaves little room: at 4 bits none.
        expect(of('hqq')).toBeLessThanOrEqual((zero === 'integer' ? 1 : 0.99) * of('minmax'));
      }
    }
  });
});
