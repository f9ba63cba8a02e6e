import { describe, expect, it } from 'vitest';
import { Random } from '../../numeric/random.ts';
import { golden, goldenJson } from '../grid/golden.fixture.node.ts';
import { bestCenters, centersOf, lineError, lloyd } from './cluster-line.ts';
import { gaussianError, gaussianLevels } from './gaussian.ts';
import { binned, condensedPoints, sortPoints } from './sorted-points.ts';

const file = golden('codebooks/lloyd_max');
interface Facts {
  cases: { case: string; bits: number; mse: number; weighted_sse: number; iterations: number }[];
  gaussian_optimal_mse: Record<string, { mse: number }>;
}
const facts = goldenJson<Facts>('codebooks/lloyd_max');
const x = file.values('x');
const farthest = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((most: number, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);

describe.each(facts.cases.filter((c) => c.case.startsWith('lloyd')))('scikit-learn 1.9.1 KMeans: $case', (c) => {
  const start = file.doubles(`${c.case}.init`);

  it('the same centers and error from the same start', () => {
    const points = sortPoints(x);
    const got = lloyd(points, start);
    expect(farthest(got.centers, file.doubles(`${c.case}.centers`))).toBeLessThan(1e-9);
    expect(Math.abs(got.error / x.length - c.mse)).toBeLessThan(1e-9);
    expect(lineError(points, bestCenters(points, 2 ** c.bits)) / x.length).toBeLessThan(c.mse + 1e-12);
  });

  it('with weights exp |x|', () => {
    const weights = Float64Array.from(x, (value) => numpyExp(Math.abs(value)));
    const want = facts.cases.find((other) => other.case === `weighted_b${c.bits}`)!;
    const points = sortPoints(x, weights);
    const got = lloyd(points, start);
    expect(farthest(got.centers, file.doubles(`${want.case}.centers`))).toBeLessThan(1e-9);
    expect(Math.abs(got.error / want.weighted_sse - 1)).toBeLessThan(1e-9);
    expect(lineError(points, bestCenters(points, 2 ** c.bits))).toBeLessThan(want.weighted_sse * (1 + 1e-12));
  });
});

describe.each([1, 2, 3, 4, 5, 6, 7, 8])('optimal levels of a gaussian, %i bits (Max 1960)', (bits) => {
  it('to 1e-6', () => {
    const levels = gaussianLevels(bits);
    expect(farthest(levels, file.doubles(`gauss_optimal_b${bits}`))).toBeLessThan(1e-9);
    expect(Math.abs(gaussianError(levels) - facts.gaussian_optimal_mse[bits]!.mse)).toBeLessThan(1e-12);
  });
});

it('is the optimum: every partition of a few points is tried', () => {
  const random = new Random(5);
  for (let trial = 0; trial < 30; trial++) {
    const values = Array.from({ length: 9 }, () => random.gaussian());
    const weights = Array.from({ length: 9 }, () => random.uniform() + 0.01);
    const points = sortPoints(values, weights);
    const error = lineError(points, bestCenters(points, 3));
    let least = Number.POSITIVE_INFINITY;
    for (let a = 1; a < 8; a++) {
      for (let b = a + 1; b < 9; b++) {
        const cost = [points.value.subarray(0, a), points.value.subarray(a, b), points.value.subarray(b)].reduce(
          (sum, part, i) => {
            const w = points.weight.subarray([0, a, b][i]!);
            const total = part.reduce((s, _, j) => s + w[j]!, 0);
            const mean = part.reduce((s, v, j) => s + v * w[j]!, 0) / total;
            return sum + part.reduce((s, v, j) => s + w[j]! * (v - mean) ** 2, 0);
          },
          0,
        );
        least = Math.min(least, cost);
      }
    }
    expect(Math.abs(error / least - 1)).toBeLessThan(1e-12);
  }
});

it('fewer values than centers, equal values, no weight', () => {
  expect([...centersOf([3, 1, 3, 1], 4)]).toEqual([1, 3, 3, 3]);
  expect([...centersOf([], 2)]).toEqual([0, 0]);
  expect([...centersOf([1, 2, 9], 2, [1, 1, 0])]).toEqual([1, 2]);
  expect([...centersOf([1, 2], 2, [0, 0])]).toEqual([1, 2]);
});

it('many values: bins keep outliers, and the error is within 0.1 % of the optimum', () => {
  const random = new Random(9);
  const many = Float64Array.from({ length: 6000 }, () => random.gaussian() ** 3);
  many[17] = 400;
  const points = sortPoints(many);
  const bins = binned(points, 2048);
  expect(bins.value.length).toBeLessThanOrEqual(2050);
  expect(bins.value.at(-1)).toBe(400);
  expect(bins.weight.reduce((a, b) => a + b, 0)).toBeCloseTo(6000, 6);
  const ratio = lineError(points, centersOf(many, 16)) / lineError(points, bestCenters(points, 16));
  expect(ratio).toBeGreaterThanOrEqual(1 - 1e-9);
  expect(ratio).toBeLessThan(1.001);
});

/** The weights of the golden file: NumPy's exp of f32 values, which is off by up to 2 ulp (loops_exponent_log, AVX2 and AVX-512). */
function numpyExp(x: number): number {
  const f = Math.fround;
  const steps = f(f(f(x * f(Math.LOG2E)) + 12582912) - 12582912);
  let t = f(steps * f(-6.93145752e-1) + x);
  t = f(steps * f(-1.42860677e-6) + t);
  const up = [5.08276256e-4, 6.757897e-3, 5.11451208e-2, 0.247361544, 0.725766461, 1];
  const down = [2.15950937e-2, -0.274233539, 1];
  const at = (terms: number[]) => terms.map(f).reduce((sum, term) => f(sum * t + term));
  return f(at(up) / at(down)) * 2 ** steps;
}

describe('more numbers than are sorted', () => {
  const random = new Random(9);
  // Tails of six decades: bins of equal width would hold nearly all values in one.
  const x = Float32Array.from({ length: 300_000 }, () => random.gaussian() * 10 ** (6 * random.uniform() ** 8 - 3));
  const weights = Float32Array.from(x, (_, i) => 1 + (i % 5));

  it.each([undefined, weights])('points stand for all values: weight, mean, and what centers cost', (w) => {
    const points = condensedPoints(x, w);
    const all = sortPoints(x, w);
    expect(points.value.length).toBeLessThan(all.value.length / 2);
    expect(points.value.every((value, i) => i === 0 || value >= points.value[i - 1]!)).toBe(true);
    const sum = (a: Float64Array, b?: Float64Array) => a.reduce((s, one, i) => s + one * (b ? b[i]! : 1), 0);
    expect(sum(points.weight)).toBeCloseTo(sum(all.weight), 3);
    expect(sum(points.weight, points.value) / sum(all.weight, all.value)).toBeCloseTo(1, 9);
    const exact = lloyd(all, bestCenters(binned(all, 2048), 16), 100);
    const cost = lineError(all, centersOf(x, 16, w));
    expect(cost / exact.error).toBeLessThan(1 + 1e-4);
  });

  it('weights of nothing count as one each', () => {
    expect(condensedPoints(x, new Float32Array(x.length))).toEqual(condensedPoints(x));
  });
});
