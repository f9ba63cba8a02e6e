import { describe, expect, test } from 'vitest';
import { decodeRows, loadKernels } from '../../kernels/index.ts';
import { quantizeMatrix } from '../../quantize/index.ts';
import { integerForm } from '../../quantize/kinds/integer.ts';
import type { IntegerScheme } from '../../quantize/scheme.ts';
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
