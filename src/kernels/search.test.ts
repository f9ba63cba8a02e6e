// The search encoders (`--encoder search`) against their references, and against ggml's own bytes: they lose less.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Random } from '../numeric/random.ts';
import { type StorageType, storage } from '../tensor/storage.ts';
import { decodeRows, encodeRows } from './encode.ts';

import { loadKernels } from './kernels.ts';
import { searchedEncoders } from './ref/search/searched.ref.ts';

const kernels = await loadKernels();
const golden = new URL('../../test/golden/ggml/', import.meta.url);
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
  const shapes =
    block === 256
      ? [[3, 512]]
      : [
          [2, 256],
          [3, 192],
          [1, 32],
        ].filter((shape) => shape[1]! % block === 0);

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

/** The inputs of ggml's golden bytes and the importance rows, name -> f32. */
function goldenInputs(): Map<string, Float32Array> {
  const bytes = readFileSync(new URL('inputs.safetensors', golden));
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const { __metadata__, ...header } = JSON.parse(bytes.toString('utf8', 8, start));
  return new Map(
    Object.entries(header as Record<string, { data_offsets: [number, number] }>).map(
      ([
        name,
        {
          data_offsets: [from, to],
        },
      ]) => [name, new Float32Array(new Uint8Array(bytes.subarray(start + from, start + to)).buffer)],
    ),
  );
}

interface Losses {
  exact: number;
  search: number;
}

/** sum weight * error^2 of each row, over that of the weights themselves. */
function rowLosses(type: StorageType, x: Float32Array, cols: number, weights?: Float32Array): Losses[] {
  const [exact, search] = (['exact', 'search'] as const).map((encoder) =>
    decodeRows(kernels, type, encodeRows(kernels, type, x, cols, weights, encoder), x.length),
  ) as [Float32Array, Float32Array];
  return Array.from({ length: x.length / cols }, (_, row) => {
    const sums = { exact: 0, search: 0, power: 0 };
    for (let j = 0; j < cols; j++) {
      const [i, w] = [row * cols + j, weights ? weights[j]! : 1];
      sums.power += w * x[i]! ** 2;
      sums.exact += w * (x[i]! - exact[i]!) ** 2;
      sums.search += w * (x[i]! - search[i]!) ** 2;
    }
    return { exact: sums.exact / (sums.power || 1), search: sums.search / (sums.power || 1) };
  });
}

/** What is left of ggml's loss on the golden case "bulk", without and with importance; measured up to 0.005 lower. */
const left: Record<keyof typeof searchedEncoders, readonly [plain: number, weighted: number]> = {
  q4_0: [0.925, 0.964],
  q4_1: [0.756, 0.96],
  q5_0: [0.94, 0.971],
  q5_1: [0.789, 0.939],
  q8_0: [0.865, 0.789],
  q2_k: [0.706, 0.827],
  q3_k: [0.918, 0.966],
  q4_k: [0.935, 0.936],
  q5_k: [0.887, 0.867],
  q6_k: [0.903, 0.892],
  iq4_nl: [0.945, 0.948],
  iq4_xs: [0.936, 0.933],
  mxfp4: [0.93, 0.914],
  nvfp4: [0.314, 0.282],
  tq1_0: [0.441, 0.413],
  tq2_0: [0.441, 0.413],
  q2_0: [0.479, 0.427],
};

describe('on the inputs of ggml 0.25.1 (llama.cpp v0.5.0)', () => {
  const inputs = goldenInputs();
  const { cases }: { cases: Record<string, { n: number }> } = JSON.parse(readFileSync(new URL('manifest.json', golden), 'utf8'));

  it.each(types)('%s: no row loses more than in ggml, and all together lose less', (type) => {
    for (const variant of ['none', 'imatrix', 'imatrix_zeros']) {
      const total = { exact: 0, search: 0 };
      for (const [name, { n }] of Object.entries(cases)) {
        if (name === 'special') continue; // Inf and NaN, for floats
        const weights = variant === 'none' ? undefined : inputs.get(`${variant}.n${n}`)!;
        const losses = rowLosses(type, inputs.get(`${name}.input`)!, n, weights);
        losses.forEach(({ exact, search }, row) => {
          // Sums of the same f64 in another order.
          expect(search, `${name} ${variant} row ${row}`).toBeLessThanOrEqual(exact * (1 + 1e-12));
          total.exact += exact;
          total.search += search;
        });
        if (name !== 'bulk' || variant === 'imatrix_zeros') continue;
        const ratio = losses.reduce((sum, one) => sum + one.search, 0) / losses.reduce((sum, one) => sum + one.exact, 0);
        expect(ratio, `${name} ${variant}`).toBeLessThan(left[type][variant === 'none' ? 0 : 1]);
      }
      expect(total.search, variant).toBeLessThan(total.exact);
    }
  });
});
