import { describe, expect, it } from 'vitest';
import { spawnWorker } from '#kernels/threads';
import { NumericError, RecipeError } from '../../errors.ts';
import { loadKernels } from '../../kernels/kernels.ts';
import { createPool } from '../../kernels/pool.ts';
import { correlated } from './correlated.fixture.ts';
import { type Factor, TILE, tileOffset } from './factor.ts';
import { type FactorTask, factorTask } from './factor-task.ts';
import { type FactorFailure, type FactorOptions, factorize, factorizeHere } from './factorize.ts';

const kernels = await loadKernels();
const options: FactorOptions = { damp: 0.01, order: 'natural', name: 'model.layers.0.mlp.up_proj' };

function factorOf(result: Factor | FactorFailure): Factor {
  if ('fallback' in result) throw new Error(result.fallback);
  return result;
}

/** H + damp in processing order from the factor, f64. */
function product({ cols, matrix, roots }: Factor, i: number, j: number): number {
  const tiles = Math.ceil(cols / TILE);
  const s = (row: number, column: number): number => {
    if (row >> 7 > column >> 7) return 0;
    return matrix[tileOffset(tiles, row >> 7, column >> 7) + ((column & 127) >> 3) * 1024 + (row & 127) * 8 + (column & 7)]!;
  };
  let sum = 0;
  for (let k = Math.max(i, j); k < tiles * TILE; k++) sum += s(i, k) * s(j, k) * roots[k]! ** 2;
  return sum;
}

describe('factorize', () => {
  it.each([
    [40, 'natural'],
    [300, 'natural'],
    [300, 'activation'],
  ] as const)("%i columns in %s order: S diag(R)^2 S' is H + damp", (cols, order) => {
    const h = correlated(cols, 1);
    const factor = factorOf(factorizeHere(kernels, h, { ...options, order }));
    const diagonal = Array.from({ length: cols }, (_, i) => h[i * cols + i]!);
    const damp = (0.01 * diagonal.reduce((a, b) => a + b, 0)) / cols;
    const largest = Math.max(...diagonal);
    for (let i = 0; i < cols; i += 3) {
      for (let j = i; j < cols; j += 7) {
        const wanted = h[factor.order[i]! * cols + factor.order[j]!]! + (i === j ? damp : 0);
        expect(Math.abs(product(factor, i, j) - wanted)).toBeLessThan(2e-6 * largest);
      }
    }
    if (order === 'natural') return expect(Array.from(factor.order)).toEqual(diagonal.map((_, i) => i));
    for (let k = 1; k < cols; k++) expect(diagonal[factor.order[k]!]).toBeLessThanOrEqual(diagonal[factor.order[k - 1]!]!);
  });

  it('equal diagonals keep their order', () => {
    const h = new Float32Array(16);
    [1, 2, 1, 2].forEach((value, i) => {
      h[i * 5] = value;
    });
    expect(Array.from(factorOf(factorizeHere(kernels, h, { ...options, order: 'activation' })).order)).toEqual([1, 3, 0, 2]);
  });

  const h = correlated(700, 2);
  const alone = factorOf(factorizeHere(kernels, h, { ...options, order: 'activation' }));

  it.each([1, 2, 3])('%i threads give the bits of none', async (threads) => {
    const pool = createPool(() => spawnWorker(new URL('./factor-worker.fixture.mjs', import.meta.url)), threads);
    const factor = await factorize(h, { ...options, order: 'activation' }, (task, payload) => pool.run(task, payload), threads);
    await pool.close();
    expect(factor).toEqual(alone);
  });

  it('tasks that answer late, on copies where nothing can be shared', async () => {
    const shared = globalThis.SharedArrayBuffer;
    Reflect.deleteProperty(globalThis, 'SharedArrayBuffer');
    try {
      let turn = 0;
      const runTask = async (_: string, payload: unknown): Promise<unknown> => {
        const task = structuredClone(payload) as FactorTask;
        await new Promise((resolve) => setTimeout(resolve, (turn++ * 7) % 5));
        return structuredClone(factorTask(task, kernels));
      };
      const factor = factorOf(await factorize(h, { ...options, order: 'activation' }, runTask, 3));
      expect(factor.matrix.buffer).toBeInstanceOf(ArrayBuffer);
      expect(factor.matrix).toEqual(new Float32Array(alone.matrix));
      expect(factor.roots).toEqual(alone.roots);
    } finally {
      globalThis.SharedArrayBuffer = shared;
    }
  });

  it('a task that fails rejects', async () => {
    const failing = () => Promise.reject(new Error('worker died'));
    await expect(factorize(h, options, failing, 2)).rejects.toThrow('worker died');
  });

  const here = async (_: string, payload: unknown) => factorTask(payload as FactorTask, kernels);
  /** [[1, c], [c, 1]]: positive definite above a damp of c - 1. */
  const pair = (c: number) => Float32Array.of(1, c, c, 1);

  it.each([
    [0.9, 0, 0.01],
    [1.05, 1, 0.1],
    [1.5, 2, 1],
    [5, 3, 10],
  ])('correlation %f needs %i retries', async (c, retries, damp) => {
    for (const result of [factorizeHere(kernels, pair(c), options), await factorize(pair(c), options, here, 2)]) {
      expect(result).toMatchObject({ retries, damp, cols: 2 });
    }
  });

  it('no damp at all is raised to a hundredth', () => {
    expect(factorizeHere(kernels, pair(1.001), { ...options, damp: 0 })).toMatchObject({ retries: 1, damp: 0.01 });
  });

  it('gives up after three', async () => {
    for (const result of [factorizeHere(kernels, pair(100), options), await factorize(pair(100), options, here, 2)]) {
      expect(result).toEqual({ fallback: 'the Hessian is not positive definite, even with damp 10', damp: 10, retries: 3 });
    }
  });

  it('a late tile that is not positive definite stops the others', async () => {
    const bad = correlated(500, 3);
    bad[0] = -1e6;
    expect(await factorize(bad, options, here, 2)).toMatchObject({ retries: 3 });
  });

  it('dead inputs count as 1', () => {
    const h3 = Float32Array.of(4, 0, 1, 0, 0, 0, 1, 0, 4);
    const factor = factorOf(factorizeHere(kernels, h3, { ...options, order: 'activation' }));
    expect(Array.from(factor.dead)).toEqual([0, 1, 0]);
    expect(Array.from(factor.order)).toEqual([0, 2, 1]);
    expect(product(factor, 2, 2)).toBeCloseTo(1 + 0.01 * 3, 6);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('%f names the linear', async (value) => {
    const bad = correlated(10, 4);
    bad[73] = value;
    const message = /model\.layers\.0\.mlp\.up_proj: the Hessian of the inputs holds NaN or infinity at \[7, 3\]/;
    expect(() => factorizeHere(kernels, bad, options)).toThrow(message);
    await expect(factorize(bad, options, here, 1)).rejects.toThrow(NumericError);
  });

  it('refuses what is not square', () => {
    expect(() => factorizeHere(kernels, new Float32Array(10), options)).toThrow(RecipeError);
    expect(() => factorizeHere(kernels, new Float32Array(0), options)).toThrow(RecipeError);
  });
});
