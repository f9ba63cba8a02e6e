import { describe, expect, test } from 'vitest';
import { llamaSpec, randomTensor, syntheticBag, syntheticModel } from '../format/synthetic.fixture.ts';
import type { PlacedTensor } from '../format/types.ts';
import { type PlanOptions, plan } from './plan.ts';
import { parseRecipe, type RecipeInput } from './schema.ts';
import { surveyTilesOf, tilesOf } from './tiles.ts';

const int4 = {
  kind: 'integer',
  bits: 4,
  symmetric: true,
  granularity: { group: 64 },
  range: 'absmax-half',
  scaleType: 'f16',
} as const;
const planned = async (recipe: Omit<RecipeInput, 'version'>, options: PlanOptions = {}) =>
  plan(await syntheticModel(), parseRecipe({ version: 1, ...recipe }), options);

/** Values of the synthetic model: two embeddings, and per layer attention with biases, MLP and norms. */
const linear = 2 * (2 * 256 * 256 + 2 * 128 * 256 + 3 * 256 * 512);
const matrices = 2 * 96 * 256;
const vectors = 2 * (256 + 128 + 128 + 256 + 2 * 256) + 256;

describe('figures of a plan', () => {
  test('bytes, bits per weight and memory follow from the shapes', async () => {
    const made = await planned({ scheme: int4 }, { output: 'out' });
    const tensors = (linear * (4 + 16 / 64)) / 8 + 2 * (matrices + vectors);
    expect(made.parameters).toBe(linear + matrices + vectors);
    expect(made.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0)).toBe(tensors);
    expect(made.bitsPerWeight).toBeCloseTo((8 * tensors) / made.parameters, 12);
    expect(made.bytes).toBe(made.layout.files.reduce((sum, file) => sum + file.size, 0));
    expect(made.load.kvCache).toEqual({ context: 128, bytes: 2 * 2 * 2 * 64 * 128 * 2 });
    expect((await planned({ scheme: int4 }, { context: 10 })).load.kvCache!.context).toBe(10);
    expect(made.runtimes).toEqual(['fewbits']);
  });

  test('what becomes larger than it was is said, of any kind of scheme', async () => {
    const grown = async (scheme: NonNullable<RecipeInput['scheme']>) =>
      (await planned({ scheme })).warnings.filter((warning) => warning.includes('in the source'));
    // A book of 256 f16 values for each row: 256 columns of 8 bits take 768 bytes a row, and 512 as bf16.
    expect(await grown({ kind: 'codebook', bits: 8 })).toEqual([
      expect.stringMatching(
        /^model.layers.0.self_attn.k_proj.weight takes 98308 bytes as 8-bit book row, and 65536 as bf16 in the source, and 13 other tensors grow too/,
      ),
    ]);
    expect(await grown({ ...int4, bits: 8, granularity: { group: 1 }, scaleType: 'f32' })).toHaveLength(1);
    expect(await grown({ kind: 'table', table: 'e4m3', granularity: { group: 2 } })).toEqual([]);
    expect(await grown({ kind: 'table', table: 'e4m3', granularity: { group: 1 } })).toHaveLength(1);
    for (const scheme of [
      int4,
      { ...int4, bits: 8 },
      { kind: 'storage', type: 'q8_0' },
      { kind: 'storage', type: 'f32' },
    ] as const)
      expect(await grown({ ...scheme })).toEqual([]);
  });

  test('the output is a file or a folder', async () => {
    expect((await planned({}, { output: 'out' })).output).toEqual({ name: 'out', kind: 'folder' });
    const file = await planned({}, { output: 'out.safetensors' });
    expect(file.output).toEqual({ name: 'out.safetensors', kind: 'file' });
    expect(file.warnings.join()).toMatch(/neither configuration nor tokenizer/);
    await expect(planned({ container: 'gguf' }, { output: 'out' })).rejects.toThrow(/end its name with .gguf/);
    const bag = await syntheticBag([['a', randomTensor([4, 64], 1)]]);
    const recipe = parseRecipe({ version: 1, container: 'safetensors' });
    await expect(plan(bag, recipe, { output: 'folder' })).rejects.toThrow(/no configuration to make a model folder of/);
  });

  test('what cannot be decoded is refused, also where the container would widen it', async () => {
    const fp8 = { type: 'f8_e4m3', shape: [2, 64], bytes: new Uint8Array(128) } as const;
    const bag = await syntheticBag([['a', fp8]]);
    const to = (container: 'gguf' | 'fewbits') =>
      plan(bag, parseRecipe({ version: 1, container }), { output: container === 'gguf' ? 'a.gguf' : 'a.safetensors' });
    await expect(to('gguf')).rejects.toThrow(/values of type f8_e4m3 cannot be decoded/);
    expect((await to('fewbits')).tensors).toMatchObject([{ scheme: 'f8_e4m3', bytes: 128 }]);
  });

  test('the key names source, recipe, layout and importance, not the number of threads', async () => {
    const key = async (...arguments_: Parameters<typeof planned>) => (await planned(...arguments_)).key;
    const base = await key({ scheme: int4 });
    expect(await key({ scheme: int4 }, { threads: 7 })).toBe(base);
    expect(await key({ scheme: { ...int4, bits: 3 } })).not.toBe(base);
    expect(await key({ scheme: int4 }, { maxShardSize: 400_000, output: 'x' })).not.toBe(
      await key({ scheme: int4 }, { output: 'x' }),
    );
    const importance = (value: number) => new Map([['model.layers.0.mlp.up_proj.weight', new Float32Array(256).fill(value)]]);
    expect(await key({ scheme: int4 }, { importance: importance(1) })).not.toBe(
      await key({ scheme: int4 }, { importance: importance(2) }),
    );
    const other = await plan(await syntheticModel({ ...llamaSpec, context: 64 }), parseRecipe({ version: 1, scheme: int4 }));
    expect(other.key).not.toBe(base);
  });
});

describe('tiles', () => {
  const placed = (rows: number, cols: number, rowMultiple = 1, scheme: PlacedTensor['scheme'] = { kind: 'keep' }) =>
    ({
      from: { rows, cols, form: 'values', values: new Float32Array() },
      rowMultiple,
      scheme,
      bytes: 2 * rows * cols,
    }) as unknown as PlacedTensor;

  test.each([
    [1, 1, 1],
    [1000, 1024, 1],
    [100_000, 4096, 1],
    [4096, 4096, 128],
    [96, 10_000_000, 48],
    [3, 2 ** 23, 1],
  ])('%i rows of %i, whole heads of %i: cover all rows once', (rows, cols, multiple) => {
    const tiles = tilesOf(placed(rows, cols, multiple));
    expect(tiles[0]![0]).toBe(0);
    expect(tiles.at(-1)![1]).toBe(rows);
    tiles.forEach(([from, to], i) => {
      expect(from % multiple).toBe(0);
      expect(to).toBeGreaterThan(from);
      if (i > 0) expect(from).toBe(tiles[i - 1]![1]);
      if (to - from > multiple) expect((to - from) * cols * 4).toBeLessThanOrEqual(4 * 2 ** 20);
    });
  });

  test('no rows, no tiles', () => expect(tilesOf(placed(0, 4))).toEqual([]));

  test('limits of a tensor: merged over tiles, or of all values at once', () => {
    const scheme = (range: 'minmax' | 'mse') => ({ ...int4, symmetric: false, granularity: 'tensor', range }) as const;
    const merged = placed(4096, 1024, 1, scheme('minmax'));
    expect(surveyTilesOf(merged)).toEqual(tilesOf(merged));
    expect(surveyTilesOf(placed(4096, 1024, 1, scheme('mse')))).toEqual([[0, 4096]]);
  });
});
