/** The example of docs/adding-a-method.md compiles, and does what it says. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Random } from '../../numeric/index.ts';
import { compareValues, dequantizeTile } from '../../quantize/index.ts';
import { encodeRows, schemeNeeds } from '../../quantize/kinds/encode.ts';
import { sparse3 } from './example.fixture.ts';

test('the page shows the file', () => {
  const page = readFileSync(new URL('../../../docs/adding-a-method.md', import.meta.url), 'utf8');
  const [, shown] = /```typescript\n(.*?)```/s.exec(page)!;
  expect(shown).toBe(readFileSync(new URL('example.fixture.ts', import.meta.url), 'utf8'));
});

test('three of a hundred values are exact, and the rest loses less than without them', () => {
  const random = new Random(3);
  const [rows, cols] = [8, 256];
  const x = Float32Array.from({ length: rows * cols }, (_, i) => random.gaussian() * (i % 97 === 0 ? 8 : 1));
  const options = {
    bits: 3,
    group: 64,
    symmetric: false,
    doubleQuant: false,
    alpha: 0.5,
    threshold: 6,
    kv: false,
    folded: false,
  };
  const scheme = sparse3.scheme!(options);
  expect(schemeNeeds(scheme)).toEqual(['meansquare']);
  const place = { name: 'w', shape: [rows, cols] as const, from: 0, to: rows };
  const meansquare = new Float32Array(cols).fill(1);
  const tile = encodeRows(x, place, scheme, { meansquare });
  const { split: _, ...plain } = scheme;
  const without = compareValues(x, dequantizeTile(encodeRows(x, place, plain, { meansquare }))).mse;
  const { sparse } = tile;
  expect(sparse!.value).toHaveLength(Math.ceil(rows * 0.03 * cols));
  const back = dequantizeTile(tile);
  for (const [i, row] of sparse!.row.entries()) expect(back[row * cols + sparse!.col[i]!]).toBe(sparse!.value[i]);
  expect(compareValues(x, back).mse).toBeLessThan(without / 2);
});
