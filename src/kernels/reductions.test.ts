import { describe, expect, it } from 'vitest';
import { Random } from '../numeric/random.ts';
import { type StorageType, storage } from '../tensor/storage.ts';
import { encodeRows } from './encode.ts';
import { blockTypes } from './encoders.ts';
import { loadKernels } from './kernels.ts';
import { absmax, firstNonfinite, minmax, scalesFinite } from './ref/reductions.ref.ts';
import { firstBadScale, halfOffsets } from './validate.ts';

const kernels = await loadKernels();
const lengths = [0, 1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100];

function gaussian(n: number, seed = n): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: n }, () => random.gaussian());
}

/** Calls a kernel on x at an address that is aligned to 4 only. */
function onCopy<T>(x: Float32Array, call: (at: number) => T): T {
  const mark = kernels.mark();
  const at = kernels.alloc(x.byteLength + 4) + 4;
  kernels.f32(at, x.length).set(x);
  const result = call(at);
  kernels.reset(mark);
  return result;
}

const nonfinite = (x: Float32Array) => onCopy(x, (at) => kernels.call('first_nonfinite', at, x.length));

describe('first_nonfinite', () => {
  it('finds each kind at each place', () => {
    for (const n of lengths) {
      const x = gaussian(n);
      x.fill(3.4028234663852886e38, 0, n >> 1);
      expect(nonfinite(x)).toBe(-1);
      for (let i = 0; i < n; i++) {
        for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
          const spoiled = x.slice();
          spoiled[i] = bad;
          spoiled[n - 1] = bad;
          expect(nonfinite(spoiled)).toBe(i);
          expect(firstNonfinite(spoiled)).toBe(i);
        }
      }
    }
  });
});

describe('minmax and absmax', () => {
  it('equal the reference at each length', () => {
    for (const n of lengths) {
      for (const shift of [0, 5, -5]) {
        const x = gaussian(n, n + 100).map((v) => v + shift);
        const out = kernels.alloc(8);
        onCopy(x, (at) => kernels.call('minmax', at, n, out));
        expect(Array.from(kernels.f32(out, 2))).toEqual(minmax(x));
        expect(onCopy(x, (at) => kernels.call('absmax', at, n))).toBe(absmax(x));
        kernels.reset(out);
      }
    }
  });
});

describe('scales', () => {
  const types = Object.keys(halfOffsets).filter((type) => Object.hasOwn(blockTypes, type)) as (keyof typeof halfOffsets)[];

  it.each(types)('%s: an Inf or NaN in any of the scales is found, and nothing in sound blocks', (type) => {
    const { block, bytes } = storage[type];
    const cols = 5 * Math.max(block, 32);
    const encoded = encodeRows(kernels, type, gaussian(cols), cols);
    const check = (blocks: Uint8Array) => {
      const at = kernels.alloc(blocks.length);
      kernels.bytes(at, blocks.length).set(blocks);
      const bad = firstBadScale(kernels, type, at, blocks.length);
      const wanted = halfOffsets[type]!.map((offset) => scalesFinite(blocks, bytes, offset)).filter((b) => b >= 0);
      expect(bad).toBe(wanted.length ? Math.min(...wanted) : -1);
      kernels.reset(at);
      return bad;
    };
    expect(check(encoded)).toBe(-1);
    for (const offset of halfOffsets[type]!) {
      for (const half of [0x7c00, 0xfc00, 0x7e01]) {
        const spoiled = encoded.slice();
        new DataView(spoiled.buffer).setUint16(3 * bytes + offset, half, true);
        new DataView(spoiled.buffer).setUint16(4 * bytes + offset, half, true);
        expect(check(spoiled)).toBe(3);
      }
    }
  });

  it('an exponent of 255 is found in MXFP4, also where the encoder wrote it; any byte is a scale of NVFP4', () => {
    const check = (type: StorageType, x: Float32Array, spoil?: number) => {
      const encoded = encodeRows(kernels, type, x, 320);
      if (spoil !== undefined) encoded[spoil] = 255;
      const at = kernels.put(encoded);
      const bad = firstBadScale(kernels, type, at, encoded.length);
      kernels.reset(at);
      return bad;
    };
    const x = gaussian(320);
    expect(check('mxfp4', x)).toBe(-1);
    expect(check('mxfp4', x, 17 * 4 + 1)).toBe(-1); // a code
    expect(check('mxfp4', x, 17 * 4)).toBe(4);
    expect(check('mxfp4', gaussian(320).fill(2 ** -126, 64, 96))).toBe(2);
    expect(check('nvfp4', x, 36 * 4)).toBe(-1);
  });

  it('f16 overflow of a block scale is found in what the encoder wrote', () => {
    const x = gaussian(320).fill(1e9, 64, 96);
    const encoded = encodeRows(kernels, 'q8_0', x, 320);
    const at = kernels.alloc(encoded.length);
    kernels.bytes(at, encoded.length).set(encoded);
    expect(firstBadScale(kernels, 'q8_0', at, encoded.length)).toBe(2);
    kernels.reset(at);
  });
});
