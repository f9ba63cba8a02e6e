// `--encoder search` from recipe to file: what is written loses less, says how it was made, and does not depend on threads.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { RecipeError } from '../errors.ts';
import { open } from '../format/index.ts';
import { randomValues, syntheticBag } from '../format/synthetic.fixture.ts';
import { diskStore, MemoryStore, read } from '../io/index.ts';
import { parseRecipe, plan, type RecipeInput } from '../recipe/index.ts';
import { fromF32, type Tensor } from '../tensor/index.ts';
import { run } from './run.ts';

const folder = mkdtempSync(join(tmpdir(), 'fewbits-search-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const [rows, cols] = [2000, 256];
const values: Tensor = { type: 'f32', shape: [rows, cols], bytes: fromF32('f32', randomValues(rows * cols, 5)) };
const importance = new Map([['a', randomValues(cols, 7).map((v) => v * v)]]);
const q4 = { kind: 'storage', type: 'q4_k' } as const;

async function planned(recipe: Omit<RecipeInput, 'version'>, weighted = false, output = 'out.gguf') {
  const model = await syntheticBag([['a', values]]);
  return plan(model, parseRecipe({ version: 1, container: 'gguf', ...recipe }), { output, ...(weighted && { importance }) });
}

async function written(recipe: Omit<RecipeInput, 'version'>, threads: number, weighted = false): Promise<Uint8Array> {
  const store = threads > 1 ? diskStore(join(folder, `${threads}${weighted}`)) : new MemoryStore();
  await run(await planned(recipe, weighted), store, { threads });
  const source = await store.open('out.gguf');
  const bytes = await read(source, 0, source.size);
  await source.close();
  return bytes;
}

const signal = async (encoder: 'exact' | 'search', container: 'gguf' | 'fewbits') => {
  const output = container === 'gguf' ? 'out.gguf' : 'out.safetensors';
  const report = await run(await planned({ scheme: q4, encoder, container }, false, output), new MemoryStore());
  return report.tensors[0]!.sqnr!;
};

describe('--encoder search', () => {
  test.each(['gguf', 'fewbits'] as const)('%s: the file is nearer to the weights', async (container) => {
    // 10 log10 of the losses: q4_k keeps 0.95 of ggml's.
    expect(await signal('search', container)).toBeGreaterThan((await signal('exact', container)) + 0.15);
  });

  test.each([false, true])('the same bytes for any number of threads (importance: %s)', async (weighted) => {
    const [one, two] = [
      await written({ scheme: q4, encoder: 'search' }, 1, weighted),
      await written({ scheme: q4, encoder: 'search' }, 2, weighted),
    ];
    expect(Buffer.from(one).equals(two)).toBe(true);
    expect(Buffer.from(one).equals(await written({ scheme: q4 }, 1, weighted))).toBe(false);
  });

  test('the plan and the file say so', async () => {
    const { convention, key } = await planned({ scheme: q4, encoder: 'search' });
    expect(convention).toMatch(/1 tensor only the layout is: scales and codes are searched/);
    const exact = await planned({ scheme: q4 });
    expect(exact.convention).not.toMatch(/search/);
    expect(key).not.toBe(exact.key);
    const store = new MemoryStore();
    await run(await planned({ scheme: q4, encoder: 'search' }), store);
    const recipe = (await open({ store, name: 'out.gguf' })).checkpoint.gguf?.get('fewbits.recipe')?.value;
    expect(JSON.parse(String(recipe))).toMatchObject({ encoder: 'search' });
  });

  test.each<[string, Omit<RecipeInput, 'version'>]>([
    ['floats', { scheme: { kind: 'storage', type: 'f16' } }],
    ['tensors that stay', { scheme: q4, keep: ['a'] }],
    [
      'integer grids',
      {
        container: 'fewbits',
        scheme: { kind: 'integer', bits: 4, symmetric: true, granularity: 'channel', range: 'absmax-half' },
      },
    ],
  ])('%s: there is nothing to search', async (_, recipe) => {
    const attempt = planned({ ...recipe, encoder: 'search' }, false, recipe.container === 'fewbits' ? 'out' : 'out.gguf');
    await expect(attempt).rejects.toThrow(RecipeError);
    await expect(attempt).rejects.toThrow(/--encoder: nothing here is encoded into ggml blocks/);
  });
});
