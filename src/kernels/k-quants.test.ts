// The K-quant kernels against their references on random super-blocks, where the goldens hold too few: each distribution is
// there for one branch of the searches (zero groups, forced minima, one sign, ties, stale codes under a zero scale, ranges in
// which a reciprocal overflows).
import { describe, expect, it } from 'vitest';
import { Random } from '../numeric/random.ts';
import { type StorageType, storage } from '../tensor/storage.ts';
import { decodeRows, encodeRows } from './encode.ts';
import { blockTypes } from './encoders.ts';
import { loadKernels } from './kernels.ts';

const types = ['q2_k', 'q3_k', 'q4_k', 'q5_k', 'q6_k'] as const satisfies StorageType[];
const kernels = await loadKernels();
const rows = 6;
const cols = 1024;

type Draw = (i: number, random: Random) => number;

function laplace(random: Random): number {
  const u = random.uniform() - 0.5;
  return -Math.sign(u) * Math.log(1 - 2 * Math.abs(u));
}

const distributions: Record<string, Draw> = {
  normal: (_, random) => 0.02 * random.gaussian(),
  laplace: (_, random) => 0.02 * laplace(random),
  'heavy tails': (_, random) => (0.01 * random.gaussian()) / random.gaussian(),
  'zeros only': () => 0,
  'negative zeros': (i) => (i & 1 ? -0 : 0),
  'constant rows': (i) => (Math.floor(i / cols) - 2.5) * 0.37,
  positive: (_, random) => Math.abs(random.gaussian()),
  negative: (_, random) => -Math.abs(random.gaussian()),
  'one non-zero in a group': (i, random) => (i % 32 === 5 ? random.gaussian() : 0),
  'one sparse value': (i, random) => (i % 97 === 5 ? random.gaussian() : 0),
  ties: (_, random) => Math.round(6 * random.gaussian()) / 4,
  'equal extremes': (_, random) => (random.integer(3) - 1) * 0.7,
  ramp: (i) => (i & 31) / 31 - 0.3,
  shifted: (_, random) => 5 + 0.01 * random.gaussian(),
  'groups of many scales': (i, random) => random.gaussian() * 10 ** -((i >> 4) % 45),
  'zero and tiny groups': (i, random) => (((i >> 4) & 3) === 0 ? 0 : random.gaussian() * (((i >> 4) & 3) === 1 ? 1e-9 : 1)),
  'below f16': (_, random) => 1e-8 * random.gaussian(),
  'near the zero limit': (_, random) => 1e-15 * random.gaussian(),
  subnormal: (_, random) => 1e-38 * random.gaussian() * random.uniform(),
  'all magnitudes': (_, random) => random.gaussian() * 10 ** (30 * random.uniform() - 44),
  large: (_, random) => 1.2e5 * (random.uniform() - 0.5),
  'overflowing sums': (_, random) => 1e30 * random.gaussian(),
};

const importances: Record<string, Draw> = {
  'log-normal': (_, random) => Math.exp(random.gaussian()),
  'with zeros': (i, random) => (i >> 5 === 2 || random.uniform() < 0.3 ? 0 : random.uniform()),
  'all zero': () => 0,
  'many magnitudes': (_, random) => 10 ** (10 * random.uniform() - 5),
};

function draw(n: number, sample: Draw, random: Random): Float32Array {
  return Float32Array.from({ length: n }, (_, i) => sample(i, random));
}

/** Indices of super-blocks whose bytes differ. */
function differing(type: StorageType, got: Uint8Array, want: Uint8Array): number[] {
  expect(got.length).toBe(want.length);
  const { bytes } = storage[type];
  const blocks = new Set<number>();
  for (let i = 0; i < got.length; i++) if (got[i] !== want[i]) blocks.add(Math.floor(i / bytes));
  return [...blocks];
}

describe.each(types)('%s', (type) => {
  const { ref } = blockTypes[type];

  it.each(Object.keys(distributions))('encodes %s as the reference does', (name) => {
    const random = new Random(name.length);
    const x = draw(rows * cols, distributions[name], random);
    expect(differing(type, encodeRows(kernels, type, x, cols), ref.encode(x, cols))).toEqual([]);
    for (const [importance, sample] of Object.entries(importances)) {
      const weights = draw(cols, sample, random);
      expect(differing(type, encodeRows(kernels, type, x, cols, weights), ref.encode(x, cols, weights)), importance).toEqual([]);
    }
  });

  it('decodes any bytes as the reference does', () => {
    const random = new Random(7);
    const n = 64 * 256;
    const bytes = Uint8Array.from({ length: (n / 256) * storage[type].bytes }, () => random.integer(256));
    const [got, want] = [decodeRows(kernels, type, bytes, n), ref.decode(bytes, n)];
    // NaN bits are free in both: compare what is not NaN by bits, and that the rest is NaN.
    const differs = got.findIndex((v, i) => !Object.is(v, want[i]));
    expect(differs).toBe(-1);
  });

  it('gives a row the same bytes wherever it stands', () => {
    const random = new Random(11);
    const x = draw(3 * cols, distributions.normal, random);
    const weights = draw(cols, importances['log-normal'], random);
    const last = encodeRows(kernels, type, x.subarray(2 * cols), cols, weights);
    expect(encodeRows(kernels, type, x, cols, weights).subarray(-last.length)).toEqual(last);
  });
});
