// Kernel = reference on random matrices: several distributions, block counts that do not fill the four lanes, with and without
// importance, and the arena's neighbours untouched.
import { describe, expect, it } from 'vitest';
import { Random } from '../numeric/random.ts';
import { type StorageType, storage, storageBytes } from '../tensor/storage.ts';
import { decodeRows, encodeRows } from './encode.ts';
import { blockTypes } from './encoders.ts';
import { loadKernels } from './kernels.ts';

const kernels = await loadKernels();

/** Each makes one value; `i` is its index in the matrix. */
const distributions: Record<string, (random: Random, i: number) => number> = {
  gaussian: (random) => 0.02 * random.gaussian(),
  heavy: (random) => 0.02 * random.gaussian() ** 5,
  uniform: (random) => random.uniform() - 0.5,
  positive: (random) => random.uniform() + 0.25,
  sparse: (random) => (random.integer(8) ? 0 : random.gaussian()),
  grid: (random) => (random.integer(33) - 16) / 8,
  'signed zeros': (random) => [0, -0, 0, -0, 1, -1][random.integer(random.integer(3) ? 4 : 6)],
  'block scales': (random, i) => random.gaussian() * 10 ** ((i >> 5) % 9) * 1e-5,
  subnormal: (random) => random.gaussian() * 2 ** -(126 + random.integer(24)),
  'wide range': (random) => random.gaussian() * 2 ** (random.integer(60) - 40),
};
/** Rows and columns, in blocks: quads that are full, that have tails, that cross rows. */
const shapes = [
  [1, 1],
  [1, 3],
  [3, 2],
  [2, 5],
  [5, 4],
  [2, 9],
] as const;

function matrix(make: (random: Random, i: number) => number, n: number, seed: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: n }, (_, i) => make(random, i));
}

function differences(a: Uint8Array, b: Uint8Array): number[] {
  expect(a.length).toBe(b.length);
  return Array.from(a.keys()).filter((i) => a[i] !== b[i]);
}

for (const [type, { ref, imatrix }] of Object.entries(blockTypes) as [StorageType, (typeof blockTypes)[string]][]) {
  const { block, bytes } = storage[type];
  const unit = Math.max(32, block);

  describe(type, () => {
    for (const [name, make] of Object.entries(distributions)) {
      it(`encodes and decodes ${name} values as the reference does`, () => {
        for (const [rows, blocks] of shapes) {
          const cols = blocks * unit;
          const x = matrix(make, rows * cols, rows * 100 + blocks);
          const importance = matrix((random) => random.uniform() ** 4, cols, blocks);
          importance.fill(0, unit >> 1, unit);
          for (const weights of imatrix === 'ignored' ? [undefined] : [undefined, importance]) {
            if (!weights && imatrix === 'required') continue;
            const encoded = encodeRows(kernels, type, x, cols, weights);
            const where = `[${rows}, ${cols}] ${weights ? 'weighted' : ''}`;
            expect(differences(encoded, ref.encode(x, cols, weights)), where).toEqual([]);
            const decoded = decodeRows(kernels, type, encoded, x.length);
            const wanted = ref.decode(encoded, x.length);
            expect(differences(new Uint8Array(decoded.buffer), new Uint8Array(wanted.buffer)), where).toEqual([]);
          }
        }
      });
    }

    it('decodes any bytes as the reference does', () => {
      const random = new Random(9);
      const n = 5 * unit;
      const encoded = Uint8Array.from({ length: storageBytes(type, n) }, () => random.integer(256));
      const [decoded, wanted] = [decodeRows(kernels, type, encoded, n), ref.decode(encoded, n)];
      const same = decoded.every((v, i) => Object.is(v, wanted[i]));
      expect(same).toBe(true);
    });

    it('writes its own bytes only', () => {
      const n = 3 * unit;
      const mark = kernels.mark();
      const [x, out] = [kernels.alloc(n * 4), kernels.alloc((3 * unit * bytes) / block + 64)];
      const size = storageBytes(type, n);
      kernels.f32(x, n).fill(1);
      kernels.bytes(out, size + 64).fill(0xab);
      kernels.call(`encode_${type}`, x, out, 3, unit, 0);
      expect(Array.from(kernels.bytes(out + size, 64))).toEqual(new Array(64).fill(0xab));
      const values = kernels.alloc(n * 4 + 64);
      kernels.bytes(values, n * 4 + 64).fill(0xab);
      kernels.call(`decode_${type}`, out, values, n);
      expect(Array.from(kernels.bytes(values + n * 4, 64))).toEqual(new Array(64).fill(0xab));
      kernels.reset(mark);
    });
  });
}

describe('types without blocks', () => {
  it.each(['f16', 'bf16', 'f32'] as const)('%s: any number of values', (type) => {
    for (const n of [1, 2, 7, 8, 9, 15, 17]) {
      const x = matrix(distributions['wide range'], n, n);
      const encoded = encodeRows(kernels, type, x, n);
      expect(encoded).toEqual(blockTypes[type].ref.encode(x, n));
      expect(decodeRows(kernels, type, encoded, n)).toEqual(blockTypes[type].ref.decode(encoded, n));
    }
  });

  it('f16 and bf16: every f16, every 16-bit pattern, and what lies halfway between', () => {
    const all = new Uint8Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer);
    for (const type of ['f16', 'bf16'] as const) {
      const values = decodeRows(kernels, type, all, 65536);
      const wanted = blockTypes[type].ref.decode(all, 65536);
      expect(differences(new Uint8Array(values.buffer), new Uint8Array(wanted.buffer))).toEqual([]);
      const between = wanted.map((v, i) => (v + wanted[(i + 1) % 65536]) / 2);
      for (const x of [wanted, between, between.map((v) => v * (1 + 2 ** -20)), between.map((v) => v * (1 - 2 ** -20))]) {
        const want = blockTypes[type].ref.encode(x, 65536);
        expect(differences(encodeRows(kernels, type, x, 65536), want)).toEqual([]);
      }
    }
  });

  it('f64 is narrowed half to even', () => {
    const x = Float64Array.of(1, 1 + 2 ** -24, 1 + 3 * 2 ** -24, 1e300, -1e-46, Number.NaN);
    const decoded = decodeRows(kernels, 'f64', new Uint8Array(x.buffer), x.length);
    expect(decoded).toEqual(Float32Array.from(x));
  });
});
