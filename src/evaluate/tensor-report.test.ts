import { describe, expect, it } from 'vitest';
import { NumericError } from '../errors.ts';
import { type Kernels, loadKernels } from '../kernels/kernels.ts';
import { Random } from '../numeric/random.ts';
import { measureTile, type TileErrors, tensorError, worstTensors } from './tensor-report.ts';

/** A tile whose values lie in arrays, x and y: [rows, cols]. */
function measure(kernels: Kernels, x: Float32Array, y: Float32Array, from: number, rows: number): TileErrors {
  const cols = x.length / rows;
  return measureTile(kernels, { from, rows, cols }, (first, n, xAt, yAt) => {
    kernels.f32(xAt, n * cols).set(x.subarray(first * cols, (first + n) * cols));
    kernels.f32(yAt, n * cols).set(y.subarray(first * cols, (first + n) * cols));
  });
}

describe('error of a tensor', () => {
  it('is that of the definition', async () => {
    const kernels = await loadKernels();
    const tile = measure(kernels, Float32Array.of(3, 4, 0, 0), Float32Array.of(3, 4, 0, 0.5), 0, 2);
    const error = tensorError('w', 2, [tile]);
    expect(error).toMatchObject({ name: 'w', values: 4, maxError: 0.5, mse: 0.0625 });
    expect(error.sqnr).toBeCloseTo(20, 12);
    expect(error.cosine).toBeCloseTo(25 / (5 * Math.sqrt(25.25)), 14);
  });

  it('is the same whatever the order in which tiles arrive', async () => {
    const kernels = await loadKernels();
    const [rows, cols] = [96, 700];
    const random = new Random(1);
    const x = Float32Array.from({ length: rows * cols }, () => random.gaussian());
    const y = x.map((v) => Math.round(v * 8) / 8);
    const tile = (from: number, n: number): TileErrors =>
      measure(kernels, x.subarray(from * cols, (from + n) * cols), y.subarray(from * cols, (from + n) * cols), from, n);
    const tiles = [tile(0, 40), tile(40, 40), tile(80, 16)];
    const first = tensorError('w', rows, tiles);
    expect(tensorError('w', rows, [tiles[2]!, tiles[0]!, tiles[1]!])).toEqual(first);
    // Uniform rounding error of step 1/8: mse = (1/8)^2 / 12.
    expect(first.mse * 12 * 64).toBeCloseTo(1, 1);
    expect(first.maxError).toBeLessThanOrEqual(1 / 16);
  });

  it('adds what integer grids know', () => {
    const base = { rows: 1, values: 4, original: 1, quantized: 1, product: 1, squaredError: 0.5, maxError: 1 };
    const tiles: TileErrors[] = [
      { ...base, from: 0, grid: { rounding: 0.125, clipping: 0.375, clipped: 1, codes: [2, 0, 2, 0] } },
      { ...base, from: 1, grid: { rounding: 0.5, clipping: 0, clipped: 0, codes: [3, 0, 0, 1] } },
    ];
    expect(tensorError('w', 2, tiles)).toMatchObject({
      mse: 0.125,
      rounding: 0.078125,
      clipping: 0.046875,
      clipped: 1,
      unusedCodes: 1,
    });
  });

  it('has limits for zeros and for no error', async () => {
    const kernels = await loadKernels();
    const zeros = new Float32Array(4);
    expect(tensorError('w', 1, [measure(kernels, zeros, zeros, 0, 1)])).toMatchObject({ sqnr: Infinity, cosine: 1, mse: 0 });
    const ones = zeros.map(() => 1);
    expect(tensorError('w', 1, [measure(kernels, zeros, ones, 0, 1)])).toMatchObject({ sqnr: -Infinity, cosine: 0 });
    expect(tensorError('w', 0, [])).toMatchObject({ values: 0, mse: 0 });
  });

  it('names the tensor whose values are not finite, and tiles that do not fit', async () => {
    const kernels = await loadKernels();
    const x = Float32Array.of(1, 2);
    const bad = Float32Array.of(1, NaN);
    const report = (a: Float32Array, b: Float32Array) => () => tensorError('layer.w', 1, [measure(kernels, a, b, 0, 1)]);
    expect(report(x, bad)).toThrow('layer.w: the quantized tensor holds NaN or Inf');
    expect(report(bad, x)).toThrow('layer.w: the original holds NaN or Inf');
    expect(() => tensorError('w', 2, [measure(kernels, x, x, 0, 1)])).toThrow(NumericError);
    expect(() => tensorError('w', 2, [measure(kernels, x, x, 1, 1)])).toThrow(NumericError);
  });

  it('lists the worst first', () => {
    const error = (name: string, sqnr: number) => ({ name, sqnr, values: 1, cosine: 1, maxError: 0, mse: 0 });
    const errors = [error('a', 30), error('b', Infinity), error('c', 10), error('d', Infinity)];
    expect(worstTensors(errors, 3).map(({ name }) => name)).toEqual(['c', 'a', 'b']);
  });
});
