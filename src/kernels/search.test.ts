// The search encoders (`--encoder search`) against their references, and against ggml's own bytes: they lose less.
import { describe, expect, it } from 'vitest';
import { Random } from '../numeric/random.ts';
import { type StorageType, storage } from '../tensor/storage.ts';
import { encodeRows } from './encode.ts';

import { loadKernels } from './kernels.ts';
import { searchedEncoders } from './ref/search/searched.ref.ts';

const kernels = await loadKernels();
const types = Object.keys(searchedEncoders) as (keyof typeof searchedEncoders)[];

type Draw = (random: Random, i: number) => number;

const distributions: Record<string, Draw> = {
  normal: (random) => 0.02 * random.gaussian(),
  'heavy tails': (random) => (0.01 * random.gaussian()) / random.gaussian(),
  zeros: () => 0,
  'signed zeros': (random) => [0, -0, 0, -0, 1, -1][random.integer(random.integer(3) ? 4 : 6)]!,
  constant: (_, i) => (Math.floor(i / 512) - 2.5) * 0.37,
  positive: (random) => random.uniform() + 0.25,
  negative: (random) => -Math.abs(random.gaussian()),
  sparse: (random, i) => (i % 97 === 5 ? random.gaussian() : 0),
  ties: (random) => Math.round(6 * random.gaussian()) / 4,
  shifted: (random) => 5 + 0.01 * random.gaussian(),
  'groups of many scales': (random, i) => random.gaussian() * 10 ** -((i >> 4) % 45),
  'below f16': (random) => 1e-8 * random.gaussian(),
  'all magnitudes': (random) => random.gaussian() * 10 ** (30 * random.uniform() - 44),
  large: (random) => 1.2e5 * (random.uniform() - 0.5),
  'overflowing sums': (random) => 1e18 * random.gaussian(),
};

const importances: Record<string, Draw | undefined> = {
  'no importance': undefined,
  'log-normal importance': (random) => Math.exp(random.gaussian()),
  'importance with zeros': (random, i) => (i >> 5 === 2 || random.uniform() < 0.3 ? 0 : random.uniform()),
  'importance of zeros': () => 0,
  'importance of many magnitudes': (random) => 10 ** (10 * random.uniform() - 5),
};

function draw(n: number, sample: Draw, random: Random): Float32Array {
  return Float32Array.from({ length: n }, (_, i) => sample(random, i));
}

/** Indices of blocks whose bytes differ. */
function differing(type: StorageType, got: Uint8Array, want: Uint8Array): number[] {
  expect(got.length).toBe(want.length);
  const blocks = new Set<number>();
  for (let i = 0; i < got.length; i++) if (got[i] !== want[i]) blocks.add(Math.floor(i / storage[type].bytes));
  return [...blocks];
}

describe.each(types)('search %s', (type) => {
  const { block } = storage[type];
  // Rows of whole quads of blocks, and of one block and a half quad more.
  const shapes = block === 256 ? [[3, 512]] : [[2, 256], [3, 192], [1, 32]];

  it.each(Object.keys(distributions))('writes %s as the reference does', (name) => {
    const random = new Random(name.length);
    for (const [rows, cols] of shapes as [number, number][]) {
      const x = draw(rows * cols, distributions[name]!, random);
      for (const [importance, sample] of Object.entries(importances)) {
        const weights = sample && draw(cols, sample, random);
        const got = encodeRows(kernels, type, x, cols, weights, 'search');
        expect(differing(type, got, searchedEncoders[type](x, cols, weights)), `[${rows}, ${cols}] ${importance}`).toEqual([]);
      }
    }
  });
});
