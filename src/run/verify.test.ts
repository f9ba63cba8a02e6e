import { describe, expect, test } from 'vitest';
import { writeSafetensors } from '../checkpoint/safetensors/index.ts';
import { open } from '../format/index.ts';
import { randomTensor, syntheticBag, syntheticModel } from '../format/synthetic.fixture.ts';
import { MemoryStore } from '../io/index.ts';
import { parseRecipe, plan } from '../recipe/index.ts';
import { fromF32, type Tensor } from '../tensor/index.ts';
import { run } from './run.ts';
import { verify } from './verify.ts';

const int4 = {
  kind: 'integer',
  bits: 4,
  symmetric: true,
  granularity: { group: 64 },
  range: 'absmax-half',
  scaleType: 'f16',
} as const;
const bad = (value: number): Tensor => ({
  type: 'f32',
  shape: [2, 3],
  bytes: fromF32('f32', Float32Array.of(0, 0, 0, 0, value, 0)),
});

describe('problems that are found', () => {
  test.each([Number.NaN, Number.NEGATIVE_INFINITY])('%d by its place', async (value) => {
    const model = await syntheticBag([['a', bad(value)]]);
    expect(await verify(model)).toMatchObject({ ok: false, problems: [`a[1, 1] is ${value}`] });
  });

  test('missing, additional and misshapen tensors', async () => {
    const source = await syntheticBag([
      ['a', randomTensor([2, 4], 1)],
      ['b', randomTensor([2], 1)],
      ['c', randomTensor([2, 3], 2)],
    ]);
    const output = await syntheticBag([
      ['a', randomTensor([4, 2], 1)],
      ['c', randomTensor([2, 3], 2)],
      ['d', randomTensor([2], 1)],
    ]);
    const found = await verify(output, source);
    expect(found.ok).toBe(false);
    expect(found.problems).toEqual([
      'a has shape [4,2], the original [2,4]',
      expect.stringMatching(/^d is not in /),
      expect.stringMatching(/^b of .* is missing$/),
    ]);
    expect(found.tensors.find((tensor) => tensor.name === 'c')).toMatchObject({ maxError: 0, mse: 0 });
  });

  test.each([{}, { maxShardSize: 300_000 }])('another source, also when only config.json tells %o', async (options) => {
    const [model, other] = [await syntheticModel(), await syntheticBag([['x', randomTensor([2], 1)]])];
    const store = new MemoryStore();
    await run(await plan(model, parseRecipe({ version: 1, scheme: int4 }), { output: 'out', ...options }), store);
    const written = await open({ store, name: 'out' });
    expect((await verify(written, model)).problems).toEqual([]);
    expect((await verify(written, other)).problems[0]).toMatch(/made from another source than/);
  });

  test('errors of each tensor against the original', async () => {
    const source = await syntheticBag([['a', randomTensor([2, 4], 1)]]);
    const changed = randomTensor([2, 4], 1);
    new Float32Array(changed.bytes.buffer)[3]! += 0.5;
    const output = await open({
      store: new MemoryStore('m', [['a.safetensors', writeSafetensors(new Map([['a', changed]]))]]),
      name: 'a.safetensors',
    });
    const { ok, tensors } = await verify(output, source);
    expect(ok).toBe(true);
    expect(tensors[0]!.maxError).toBeCloseTo(0.5, 6);
    expect(tensors[0]!.mse).toBeCloseTo(0.25 / 8, 6);
  });

  test('a signal stops it', async () => {
    await expect(verify(await syntheticModel(), undefined, AbortSignal.abort())).rejects.toThrow(/abort/i);
  });
});
