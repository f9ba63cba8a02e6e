import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { FileError, NumericError } from '../errors.ts';
import { open } from '../format/index.ts';
import { randomValues, syntheticBag, syntheticModel } from '../format/synthetic.fixture.ts';
import { diskStore, MemoryStore, read, type Store } from '../io/index.ts';
import { quantizeMatrix } from '../quantize/index.ts';
import { parseRecipe, plan, type RecipeInput, tilesOf } from '../recipe/index.ts';
import { fromF32, type Tensor } from '../tensor/index.ts';
import { run } from './run.ts';
import { weightReader } from './weights.ts';

const int4 = {
  kind: 'integer',
  bits: 4,
  symmetric: true,
  granularity: { group: 64 },
  range: 'absmax-half',
  scaleType: 'f16',
} as const;
const folder = mkdtempSync(join(tmpdir(), 'fewbits-run-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let count = 0;
const onDisk = () => diskStore(join(folder, `${count++}`));

async function bytesOf(store: Store, name: string): Promise<Uint8Array> {
  const source = await store.open(name);
  try {
    return await read(source, 0, source.size);
  } finally {
    await source.close();
  }
}

const matrix = (values: Float32Array, cols: number): Tensor => ({
  type: 'f32',
  shape: [values.length / cols, cols],
  bytes: fromF32('f32', values),
});

/** Several tiles in each of two tensors. */
const large = async (change: (values: Float32Array) => void = () => {}) => {
  const values = randomValues(3000 * 1024, 5);
  change(values);
  return syntheticBag([
    ['a', matrix(values, 1024)],
    ['b', matrix(randomValues(2000 * 1024, 6), 1024)],
  ]);
};
const planned = async (model: Awaited<ReturnType<typeof large>>, recipe: Omit<RecipeInput, 'version'>, output: string) =>
  plan(model, parseRecipe({ version: 1, ...recipe }), { output });

describe('abort and continue', () => {
  test.each(['memory', 'disk'])('%s: an aborted run is continued and gives the same bytes', async (kind) => {
    const store = kind === 'memory' ? new MemoryStore() : onDisk();
    const made = await planned(await large(), { scheme: int4 }, 'out.safetensors');
    const tiles = made.layout.tensors.reduce((sum, tensor) => sum + tilesOf(tensor).length, 0);
    expect(tiles).toBeGreaterThan(4);
    const whole = new MemoryStore();
    await run(made, whole);

    const stop = new AbortController();
    let seen = 0;
    const onProgress = () => {
      if (++seen === 3) stop.abort();
    };
    await expect(run(made, store, { signal: stop.signal, onProgress })).rejects.toThrow(/abort/i);
    expect(await store.stat('out.safetensors')).toBeUndefined();
    expect(await store.stat('out.safetensors.unfinished')).toMatchObject({ kind: 'folder' });

    const report = await run(made, store, { threads: 2 });
    expect(report.resumed).toBeGreaterThanOrEqual(3);
    expect(report.resumed).toBeLessThan(tiles);
    expect(Buffer.from(await bytesOf(store, 'out.safetensors')).equals(await bytesOf(whole, 'out.safetensors'))).toBe(true);
    expect(await store.list()).toEqual(['out.safetensors', 'out.safetensors.report.json']);
  });

  test('a finished tile that was tampered with is encoded again', async () => {
    const store = onDisk();
    const made = await planned(await large(), { container: 'gguf', scheme: { kind: 'storage', type: 'q4_0' } }, 'out.gguf');
    const stop = new AbortController();
    await expect(run(made, store, { signal: stop.signal, onProgress: () => stop.abort() })).rejects.toThrow(/abort/i);
    const { offset } = made.layout.tensors[0]!.fields['data']!;
    const sink = await store.create('out.gguf.unfinished/files/out.gguf', made.bytes);
    await sink.write(new Uint8Array(64).fill(0xa5), offset + 100);
    await sink.close();
    const report = await run(made, store);
    const whole = new MemoryStore();
    await run(made, whole);
    expect(Buffer.from(await bytesOf(store, 'out.gguf')).equals(await bytesOf(whole, 'out.gguf'))).toBe(true);
    const untouched = new MemoryStore();
    const first = new AbortController();
    await expect(run(made, untouched, { signal: first.signal, onProgress: () => first.abort() })).rejects.toThrow();
    expect((await run(made, untouched)).resumed).toBe(report.resumed + 1);
  });

  test('an aborted signal stops a run before it begins', async () => {
    const made = await planned(await large(), { scheme: int4 }, 'out.safetensors');
    await expect(run(made, new MemoryStore(), { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
  });
});

describe('what stops a run', () => {
  test('a NaN is named, and nothing of the output stays', async () => {
    const model = await large((values) => {
      values[2500 * 1024 + 17] = Number.NaN;
    });
    for (const recipe of [
      { scheme: int4 },
      { scheme: { kind: 'storage', type: 'q8_0' } },
      { scheme: { ...int4, granularity: 'tensor' } },
    ] as const) {
      const store = onDisk();
      const made = await planned(model, recipe, 'out.safetensors');
      const attempt = run(made, store, { threads: 2 });
      await expect(attempt).rejects.toThrow(NumericError);
      await expect(attempt).rejects.toThrow(/a\[2500, 17\]/);
      expect(await store.list()).toEqual([]);
    }
  });

  test('an output that exists, under any of its names', async () => {
    const model = await syntheticModel();
    const made = await plan(model, parseRecipe({ version: 1, container: 'gguf' }), { output: 'm.gguf', maxShardSize: 600_000 });
    const names = made.layout.files.map((file) => file.name);
    expect(names.length).toBeGreaterThan(2);
    for (const name of [names[0]!, names.at(-1)!]) {
      const store = new MemoryStore('memory', [[name, new Uint8Array(3)]]);
      await expect(run(made, store)).rejects.toThrow(FileError);
      await expect(run(made, store)).rejects.toThrow(`memory/${name}: the output exists already`);
      expect((await bytesOf(store, name)).length).toBe(3);
      await run(made, store, { force: true });
      expect((await open({ store, name: names[0]! })).tensors).toHaveLength(model.tensors.length);
    }
  });

  test('a disk without room', async () => {
    const store = new MemoryStore();
    store.free = async () => 1000;
    const made = await planned(await large(), { scheme: int4 }, 'out.safetensors');
    await expect(run(made, store)).rejects.toThrow(/no room for the output.*limit 1000 bytes free/);
    expect(await store.list()).toEqual([]);
  });
});

describe('a scale for the whole tensor', () => {
  test.each(['absmax-half', 'minmax', 'percentile', 'mse'] as const)('%s: over tiles as over the matrix', async (range) => {
    const scheme = { ...int4, granularity: 'tensor', range, symmetric: range !== 'minmax' } as const;
    const values = randomValues(600 * 1024, 8);
    values[599 * 1024] = 0.9; // the largest value lies in the last tile
    const model = await syntheticBag([['a', matrix(values, 1024)]]);
    const made = await planned(model, { scheme }, 'out.safetensors');
    const store = new MemoryStore();
    await run(made, store, { threads: 3 });
    const written = await weightReader(await open({ store, name: 'out.safetensors' }))('a');
    const expected = quantizeMatrix(values, [600, 1024], scheme).dequantized();
    expect(Buffer.from(written.buffer).equals(Buffer.from(expected.buffer))).toBe(true);
  });
});

describe('a folder', () => {
  test('holds the sidecars, the recipe and the report, and not how the source was quantized', async () => {
    const files = { 'tokenizer.json': '{"a":1}', LICENSE: 'free', 'quantize_config.json': '{}', 'README.md': '# model' };
    const model = await syntheticModel(undefined, { files });
    const store = new MemoryStore();
    await run(await plan(model, parseRecipe({ version: 1, scheme: int4 }), { output: 'out' }), store, { verify: 'none' });
    expect(await store.list()).toEqual(
      ['LICENSE', 'README.md', 'config.json', 'model.safetensors', 'recipe.json', 'report.json', 'tokenizer.json'].map(
        (name) => `out/${name}`,
      ),
    );
    const report = JSON.parse(new TextDecoder().decode(await bytesOf(store, 'out/report.json'))) as { verified: boolean };
    expect(report.verified).toBe(false);
  });
});
