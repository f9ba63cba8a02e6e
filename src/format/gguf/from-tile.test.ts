import { describe, expect, test } from 'vitest';
import { decodeRows, loadKernels } from '../../kernels/index.ts';
import { dequantizeTile, quantizeMatrix } from '../../quantize/index.ts';
import { encodeRows, schemeForm } from '../../quantize/kinds/encode.ts';
import { integerForm } from '../../quantize/kinds/integer.ts';
import type { IntegerScheme, WeightScheme } from '../../quantize/scheme.ts';
import { randomValues } from '../synthetic.fixture.ts';
import { exactBlocks, exactTypeOf } from './from-tile.ts';

const base = {
  kind: 'integer',
  bits: 4,
  symmetric: true,
  range: 'absmax-full',
  granularity: { group: 64 },
  scaleType: 'f16',
} as const;
const typeOf = (changes: Partial<IntegerScheme>, cols = 128) => exactTypeOf(integerForm({ ...base, ...changes }), cols);

describe('which grids a ggml type holds', () => {
  test.each<[Partial<IntegerScheme>, number, string | undefined]>([
    [{}, 128, 'q4_0'],
    [{ bits: 1 }, 128, 'q4_0'],
    [{ bits: 5 }, 128, 'q5_0'],
    [{ bits: 6 }, 128, 'q8_0'],
    [{ bits: 8, granularity: 'channel' }, 128, 'q8_0'],
    [{ granularity: 'tensor' }, 128, 'q4_0'],
    [{ granularity: { group: 16 } }, 128, undefined],
    [{ granularity: { group: 48 } }, 96, undefined],
    [{ granularity: 'channel' }, 48, undefined],
    [{ scaleType: 'f32' }, 128, undefined],
    [{ scaleType: 'bf16' }, 128, undefined],
    [{ signed: false }, 128, undefined],
    [{ symmetric: false, range: 'minmax' }, 128, undefined],
  ])('%o, rows of %i: %s', (changes, cols, type) => expect(typeOf(changes, cols)).toBe(type));
});

describe('blocks decode to the values of the tile, bit for bit', () => {
  const cols = 128;
  const x = randomValues(6 * cols, 3).map((value, i) => (i % 50 === 0 ? value * 6 : value));

  for (const bits of [1, 2, 3, 4, 5, 6, 7, 8]) {
    test.each(['tensor', 'channel', { group: 32 }, { group: 64 }] as const)(`int${bits}, %o`, async (granularity) => {
      const kernels = await loadKernels();
      for (const range of ['absmax-full', 'absmax-half', 'absmax-narrow'] as const) {
        if (bits === 1 && range === 'absmax-narrow') continue; // has one code only
        const scheme = { ...base, bits, granularity, range };
        const { tile, dequantized } = quantizeMatrix(x, [6, cols], scheme);
        const type = exactTypeOf(integerForm(scheme), cols)!;
        const blocks = exactBlocks(tile, type, (r) => 5 - r);
        const decoded = decodeRows(kernels, type, blocks, x.length);
        const values = dequantized();
        for (let r = 0; r < 6; r++)
          expect(decoded.subarray(r * cols, (r + 1) * cols)).toEqual(values.subarray((5 - r) * cols, (6 - r) * cols));
      }
    });
  }
});

describe('small floats, trits and signs decode to the values of the tile, bit for bit', () => {
  const cols = 512;
  const x = randomValues(3 * cols, 5).map((value, i) => (i % 50 === 0 ? value * 6 : i % 7 === 0 ? -1e-9 : value));
  const table = (name: 'ternary' | 'binary', group: number): WeightScheme => ({
    ...{ kind: 'table', table: name, range: 'mse', scaleType: 'f16' },
    granularity: { group },
  });

  test.each<[string, WeightScheme, string | undefined]>([
    ['mx, better exponent', { kind: 'mx', element: 'e2m1', exponent: 'best' }, 'mxfp4'],
    ['mx of 6 bits', { kind: 'mx', element: 'e2m3', exponent: 'best' }, undefined],
    ['nvfp4', { kind: 'nvfp4', scale: 'six' }, undefined],
    ['ternary by 64', table('ternary', 64), 'q2_0'],
    ['ternary by 128', table('ternary', 128), 'q2_0'],
    ['ternary by 256', table('ternary', 256), 'tq2_0'],
    ['ternary by 32', table('ternary', 32), undefined],
    ['binary by 128', table('binary', 128), 'q1_0'],
    ['binary by 64', table('binary', 64), undefined],
    ['values kept apart', { ...table('ternary', 256), split: { sparse: { share: 0.01, by: 'magnitude' } } }, undefined],
  ])('%s: %s', async (_, scheme, type) => {
    const found = exactTypeOf(schemeForm(scheme, cols), cols);
    expect(found).toBe(type);
    if (!found) return;
    const kernels = await loadKernels();
    const tile = encodeRows(x, { name: 'a', shape: [3, cols], from: 0, to: 3 }, scheme, {});
    const decoded = decodeRows(
      kernels,
      found,
      exactBlocks(tile, found, (r) => r),
      x.length,
    );
    expect(decoded.map((value) => value + 0)).toEqual(dequantizeTile(tile).map((value) => value + 0)); // -0 + 0 = 0
    expect(decoded.some((value) => value !== 0)).toBe(true);
  });
});
