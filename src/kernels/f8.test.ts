import { expect, test } from 'vitest';
import { decodeMinifloat, minifloat } from '../numeric/index.ts';
import { decodeRows } from './encode.ts';
import { loadKernels } from './kernels.ts';

const all = Uint8Array.from({ length: 256 }, (_, code) => code);

test.each([
  ['f8_e4m3', 'e4m3'],
  ['f8_e5m2', 'e5m2'],
] as const)('%s decodes all 256 codes as numeric/minifloat does', async (type, format) => {
  const values = decodeRows(await loadKernels(), type, all, 256);
  expect([...values]).toEqual([...all].map((code) => decodeMinifloat(minifloat(format), code)));
});
