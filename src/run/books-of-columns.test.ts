/** Product quantization through a whole run: plan, file, reading. */
import { expect, test } from 'vitest';
import { open } from '../format/index.ts';
import { randomTensor, syntheticBag } from '../format/synthetic.fixture.ts';
import { MemoryStore } from '../io/index.ts';
import { compareValues, dequantizeTile, quantizeToCodebook } from '../quantize/index.ts';
import { plan } from '../recipe/index.ts';
import { run } from './run.ts';
import { verify } from './verify.ts';
import { weightReader } from './weights.ts';

const [rows, cols] = [64, 96];

test.each([
  { bits: 3, dim: 1, columns: 16 },
  { bits: 6, dim: 2, columns: 40 },
] as const)('$bits bits for $dim values, a book for each $columns columns', async ({ bits, dim, columns }) => {
  const bag = await syntheticBag([['a', randomTensor([rows, cols], 1)]]);
  const source = await weightReader(bag)('a');
  const scheme = { kind: 'codebook', bits, dim, per: { columns }, bookType: 'f16' } as const;
  const recipe = { version: 1, container: 'fewbits', scheme } as const;
  const planned = await plan(bag, recipe, { output: 'o.safetensors' });
  const store = new MemoryStore('out');
  await run(planned, store, { threads: 1 });
  const written = await open({ store, name: 'o.safetensors' });
  const books = Math.ceil(cols / columns);
  expect(planned.tensors[0]!.bytes).toBe((rows * cols * bits) / dim / 8 + 2 * rows + 2 * books * 2 ** bits * dim);
  expect(written.tensors[0]!.type).toContain(`columns ${columns}`);
  expect(await verify(written)).toMatchObject({ ok: true });

  const found = (await weightReader(written)('a')).slice();
  const place = { name: 'a', shape: [rows, cols] as const, from: 0, to: rows };
  const scale = { granularity: 'channel', by: 'rms', scaleType: 'f16' } as const;
  const options = { bits, dim, per: { rows: 0, cols: columns }, stored: 'f16', scale } as const;
  expect(found).toEqual(dequantizeTile(quantizeToCodebook(source, place, options)));
  const whole = dequantizeTile(quantizeToCodebook(source, place, { ...options, per: { rows: 0, cols: 0 } }));
  expect(compareValues(source, found).mse).toBeLessThan(compareValues(source, whole).mse);
  const rounding = { kind: 'gptq' } as const;
  await expect(plan(bag, { ...recipe, scheme: { ...scheme, rounding } }, { output: 'o.safetensors' })).rejects.toThrow(
    /feedback needs one book|vectors|column by column/,
  );
  await bag.close();
  await written.close();
});
