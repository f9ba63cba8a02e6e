/** The three files: llama.cpp's own bytes, round trips, and what malformed files are answered with. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../checkpoint/index.ts';
import { writeSafetensors } from '../../checkpoint/safetensors/index.ts';
import { FormatError, NumericError, RecipeError } from '../../errors.ts';
import { syntheticBag, syntheticModel } from '../../format/synthetic.fixture.ts';
import { MemoryStore, memorySource, read } from '../../io/index.ts';
import type { StatisticKind, Statistics } from '../../quantize/statistics.ts';
import { plan } from '../../recipe/index.ts';
import { fromF32, type Tensor } from '../../tensor/index.ts';
import { importanceFrom } from '../importance.ts';
import { convertStatistics } from './convert.ts';
import { readImatrix, writeImatrix } from './imatrix.ts';
import { readLegacyImatrix, writeLegacyImatrix } from './legacy-imatrix.ts';
import { linearNames } from './names.ts';
import { isStatistics, openStatistics } from './open.ts';
import { provenanceOf } from './provenance.ts';
import { createStatistics, type StatisticsHead } from './writer.ts';

const golden = (name: string) => new URL(`../../../test/golden/gguf/${name}`, import.meta.url);
const bytesOfFile = (name: string) => new Uint8Array(readFileSync(golden(name)));
const goldenImatrix = (name: string) => readImatrix_(bytesOfFile(name), name);
const readImatrix_ = async (bytes: Uint8Array, name: string) =>
  readImatrix(await openCheckpoint({ source: memorySource(bytes, name) }));

const f32 = (...values: number[]): Tensor => shaped([values.length], values);
const shaped = (shape: number[], values: number[]): Tensor => ({
  type: 'f32',
  shape,
  bytes: fromF32('f32', Float32Array.from(values)),
});
const i64 = (...values: bigint[]): Tensor => ({
  type: 'i64',
  shape: [values.length],
  bytes: new Uint8Array(BigInt64Array.from(values).buffer),
});
const bytesIn = async (store: MemoryStore, name: string) => {
  const source = await store.open(name);
  return (await read(source, 0, source.size)).slice();
};

describe('importance matrices', () => {
  test.each(['stories260K.imatrix.gguf', 'tinystories-3.7m.imatrix.gguf'])('%s is written again byte for byte', async (name) => {
    const written = writeImatrix(await goldenImatrix(name));
    expect(Buffer.compare(written, bytesOfFile(name))).toBe(0);
  });

  test('the older form: bytes made by hand', async () => {
    const entries = new Map([
      ['b', { sums: Float32Array.of(1024, 2048), count: 1024 }],
      ['a', { sums: Float32Array.of(3), count: 1 }],
    ]);
    const text = Buffer.from('t.txt');
    const expected = Buffer.concat([
      Buffer.from(Int32Array.of(2, 1).buffer),
      Buffer.from('a'),
      Buffer.from(Int32Array.of(1, 1).buffer),
      Buffer.from(Float32Array.of(3).buffer),
      Buffer.from(Int32Array.of(1).buffer),
      Buffer.from('b'),
      Buffer.from(Int32Array.of(2, 2).buffer),
      Buffer.from(Float32Array.of(2, 4).buffer), // means 1 and 2, times two calls
      Buffer.from(Int32Array.of(2, text.length).buffer),
      text,
    ]);
    const written = writeLegacyImatrix({ entries, chunkSize: 512, datasets: ['t.txt'] });
    expect(Buffer.compare(written, expected)).toBe(0);
    const again = await readLegacyImatrix(memorySource(written));
    expect(again.datasets).toEqual(['t.txt']);
    expect(again.entries.get('b')).toEqual({ sums: Float32Array.of(1024, 2048), count: 1024 });
    // Files of the first versions end after the entries.
    const first = await readLegacyImatrix(memorySource(written.subarray(0, written.length - 8 - text.length)));
    expect(first.entries).toEqual(again.entries);
  });

  test('the older form holds the means of the newer', async () => {
    const imatrix = await goldenImatrix('tinystories-3.7m.imatrix.gguf');
    const again = await readLegacyImatrix(memorySource(writeLegacyImatrix(imatrix)));
    expect(again.entries.size).toBe(28);
    for (const [name, { sums, count }] of imatrix.entries) {
      const other = again.entries.get(name)!;
      expect(other.sums.map((sum) => sum / other.count)).toEqual(sums.map((sum) => sum / count));
    }
  });

  const legacy = (...parts: (number | string | Float32Array)[]) =>
    Uint8Array.from(
      Buffer.concat(
        parts.map((part) =>
          typeof part === 'string'
            ? Buffer.from(part, 'latin1')
            : Buffer.from(typeof part === 'number' ? Int32Array.of(part).buffer : part.buffer),
        ),
      ),
    );
  test.each<[string, Uint8Array, RegExp]>([
    ['nothing', legacy(), /past the end/],
    ['no entries', legacy(0), /no entries/],
    ['a negative count', legacy(-1), /number of entries is impossible/],
    ['more entries than there are', legacy(2 ** 31 - 1, 1, 'a', 1, 1, Float32Array.of(1)), /past the end/],
    ['a name of 2 GB', legacy(1, 2 ** 31 - 1), /bytes of a name is impossible/],
    ['a name past the end', legacy(1, 100, 'a'), /past the end/],
    ['an empty name', legacy(1, 0, 1, 1, Float32Array.of(1)), /empty or there twice/],
    ['a name that is no text', legacy(1, 1, '\u00ff', 1, 1, Float32Array.of(1)), /not valid UTF-8/],
    ['a name twice', legacy(2, 1, 'a', 1, 1, Float32Array.of(1), 1, 'a', 1, 1, Float32Array.of(1)), /there twice/],
    ['8 GB of values', legacy(1, 1, 'a', 1, 2 ** 31 - 1), /past the end of the file \(got 8589934588, limit 0\)/],
    ['negative values', legacy(1, 1, 'a', 1, -1), /number of values is impossible/],
    ['negative calls', legacy(1, 1, 'a', -7, 1, Float32Array.of(1)), /number of calls is impossible/],
    ['bytes after the end', legacy(1, 1, 'a', 1, 1, Float32Array.of(1), 1, 0, 'x'), /bytes after the end/],
    ['a cut end', legacy(1, 1, 'a', 1, 1, Float32Array.of(1), 1), /past the end/],
  ])('%s is refused', async (_, bytes, message) => {
    const attempt = openStatistics(memorySource(bytes, 'm.dat'));
    await expect(attempt).rejects.toThrow(FormatError);
    await expect(attempt).rejects.toThrow(message);
  });
});

describe('names', () => {
  test('by the architectures, and by a model', async () => {
    const names = linearNames();
    expect(names.toGguf('model.layers.12.self_attn.o_proj')).toBe('blk.12.attn_output.weight');
    expect(names.toLinear('blk.3.ffn_down.weight')).toBe('model.layers.3.mlp.down_proj');
    expect([names.toLinear('output.weight'), names.toLinear('token_embd.weight')]).toEqual(['lm_head', 'model.embed_tokens']);
    expect([names.toGguf('own.0.thing'), names.toLinear('own.0.thing.weight')]).toEqual(['own.0.thing.weight', 'own.0.thing']);
    const own = linearNames(await syntheticModel());
    expect(own.toLinear('blk.1.ffn_up.weight')).toBe('model.layers.1.mlp.up_proj');
    expect(own.toLinear('blk.2.ffn_up.weight')).toBeUndefined();
  });
});

describe('our own file', () => {
  const kinds: StatisticKind[] = ['hessian', 'meansquare', 'min', 'samples'];
  const heads: StatisticsHead[] = [
    {
      linears: ['model.layers.0.self_attn.q_proj', 'model.layers.0.self_attn.k_proj'],
      width: 2,
      tokens: 7,
      kinds,
      sampleRows: 3,
    },
    { linears: ['model.layers.0.mlp.down_proj'], width: 3, tokens: 9, kinds: ['meansquare'] },
  ];
  const statistics: Statistics[] = [
    {
      tokens: 7,
      hessian: Float32Array.of(1, 2, 2, 5),
      meansquare: Float32Array.of(1, 5),
      min: Float32Array.of(-1, 0),
      samples: Float32Array.of(1, 2, 3, 4, 5, 6),
    },
    { tokens: 9, meansquare: Float32Array.of(0.1, 0.2, 0.3) },
  ];
  const options = { heads, names: linearNames(), chunkSize: 512, datasets: [] };
  async function write(name: string, order = [0, 1], store = new MemoryStore()): Promise<MemoryStore> {
    const writer = await createStatistics(store, name, options);
    for (const i of order) await writer.add(heads[i]!.linears[0]!, statistics[i]!);
    await writer.finish();
    return store;
  }

  test('everything comes back; linears of one input share it', async () => {
    const store = await write('s.safetensors');
    expect(await store.list()).toEqual(['s.safetensors']);
    const reader = await openStatistics(await store.open('s.safetensors'));
    const [q, k, down] = [heads[0]!.linears[0]!, heads[0]!.linears[1]!, heads[1]!.linears[0]!] as const;
    expect([...reader.linears()].sort()).toEqual([q, k, down].sort());
    expect([reader.shared(k), reader.shared(q), reader.tokens(k), reader.tokens(down)]).toEqual([q, q, 7, 9]);
    for (const linear of [q, k]) for (const kind of kinds) expect(await reader.read(linear, kind)).toEqual(statistics[0]![kind]);
    expect([reader.has(down, 'hessian'), reader.shape(k, 'samples')]).toEqual([false, [3, 2]]);
    await expect(reader.read(down, 'hessian')).rejects.toThrow(/down_proj: the statistics hold no hessian of this linear/);
    await expect(reader.read('x', 'min')).rejects.toThrow(RecipeError);
    const file = await openCheckpoint({ source: await store.open('s.safetensors') });
    expect(file.metadata!.get('alias')).toBe(`{"${k}":"${q}"}`);
    expect(file.tensors.has(`${k}.tokens`)).toBe(false);
  });

  test('where they come from is in the header, and stays there when they are converted', async () => {
    const windows = { ids: Int32Array.of(1, 2, 3, 4, 5, 6), samples: 3, context: 2, warnings: [] };
    const model = await syntheticModel();
    const provenance = await provenanceOf(model, windows, 'my.txt');
    expect(provenance).toMatchObject({ samples: 3, context: 2, tokens: 6, text: { name: 'my.txt' } });
    // sha256sum of the six ids as little-endian i32
    expect(provenance.text.sha256).toBe('90d856b7ecac90c26898af8a46404297aa0ef65768f62fdf8c3f08294bcbee49');
    const store = new MemoryStore();
    const writer = await createStatistics(store, 's.safetensors', { ...options, provenance });
    for (const i of [0, 1]) await writer.add(heads[i]!.linears[0]!, statistics[i]!);
    await writer.finish();
    const reader = await openStatistics(await store.open('s.safetensors'));
    expect(reader.provenance).toEqual(provenance);
    await convertStatistics(reader, store, 't.safetensors', { kinds: ['meansquare'] });
    expect((await openStatistics(await store.open('t.safetensors'))).provenance).toEqual(provenance);
    const none = await write('s.safetensors');
    expect((await openStatistics(await none.open('s.safetensors'))).provenance).toBeUndefined();
    const scheme = { kind: 'integer', bits: 4, symmetric: true, granularity: { group: 32 }, range: 'imatrix' } as const;
    const all = {
      ...reader,
      shape: (linear: string) => [model.tensors.find(({ name }) => name === `${linear}.weight`)!.stored.cols],
    };
    const warnings = async (over: object) =>
      (await plan(model, { version: 1, scheme }, { statistics: { ...all, provenance: { ...provenance, ...over } } })).warnings;
    expect(await warnings({})).toEqual([]);
    for (const other of [{ source: 'x' }, { content: 'x' }])
      expect(await warnings(other)).toEqual([expect.stringMatching(/the statistics were made from another model/)]);
    await reader.close();
  });

  test('the same statistics give the same bytes, whatever comes first', async () => {
    const [a, b] = [await write('s.safetensors'), await write('s.safetensors', [1, 0])];
    expect(await bytesIn(a, 's.safetensors')).toEqual(await bytesIn(b, 's.safetensors'));
  });

  test('an output is replaced only when asked, and an unfinished one leaves nothing', async () => {
    const store = await write('s.safetensors');
    await expect(write('s.safetensors', [0, 1], store)).rejects.toThrow(/exists already.*--force/);
    const writer = await createStatistics(store, 'other.gguf', options);
    await expect(createStatistics(store, 'other.gguf', options)).rejects.toThrow(/another process is writing/);
    await writer.close();
    expect(await store.list()).toEqual(['s.safetensors']);
    await (await createStatistics(store, 's.safetensors', { ...options, force: true })).close();
    await expect(write('s.bin')).rejects.toThrow(/ends with \.safetensors, \.gguf or \.dat/);
  });

  test('to llama.cpp’s files and back: mean squares to a rounding', async () => {
    const store = await write('s.safetensors');
    let before = 's.safetensors';
    for (const name of ['c.gguf', 'c.dat', 'back.safetensors']) {
      const reader = await openStatistics(await store.open(before));
      const { dropped } = await convertStatistics(reader, store, name);
      expect(dropped).toEqual(before === 's.safetensors' ? ['hessian', 'min', 'samples'] : []);
      before = name;
    }
    const reader = await openStatistics(await store.open('back.safetensors'));
    for (const [i, { linears }] of heads.entries())
      for (const linear of linears)
        (await reader.read(linear, 'meansquare')).forEach((value, j) => {
          expect(value).toBeCloseTo(statistics[i]!.meansquare![j]!, 6);
        });
    const again = await openStatistics(await store.open('s.safetensors'));
    await convertStatistics(again, store, 'copy.safetensors');
    expect(await bytesIn(store, 'copy.safetensors')).toEqual(await bytesIn(store, 's.safetensors'));
    const none = convertStatistics(again, store, 'none.safetensors', { kinds: ['min'] });
    await expect(none).rejects.toThrow(/down_proj: the statistics hold nothing.*\(min\)/);
  });

  test('a bag of tensors takes statistics by its own names', async () => {
    const bag = await syntheticBag([
      ['w.weight', shaped([2, 3], [1, 2, 3, 4, 5, 6])],
      ['v', shaped([1, 2], [1, 2])],
    ]);
    const file = writeSafetensors(
      new Map([
        ['w.meansquare', f32(1, 2, 3)],
        ['v.meansquare', f32(1, 4)],
      ]),
    );
    const reader = await openStatistics(memorySource(file, 's.safetensors'), bag);
    expect(reader.tokens('w')).toBeNaN();
    expect(await importanceFrom(reader, bag)).toEqual(
      new Map([
        ['w.weight', Float32Array.of(1, 2, 3)],
        ['v', Float32Array.of(1, 4)],
      ]),
    );
  });

  test.each<[string, Record<string, Tensor>, RegExp, (new (...args: never[]) => Error)?, Record<string, string>?]>([
    ['no statistics', { w: f32(1) }, /no statistics/, RecipeError],
    [
      'a Hessian that is no square',
      { 'w.hessian': shaped([1, 2], [1, 2]) },
      /hessian of a statistics file is F32 \[in, in\].*\[1,2\]/,
    ],
    ['a Hessian of three dimensions', { 'w.hessian': shaped([1, 1, 1], [1]) }, /F32 \[in, in\]/],
    ['an empty Hessian', { 'w.hessian': shaped([0, 0], []) }, /F32 \[in, in\]/],
    ['a matrix of mean squares', { 'w.meansquare': shaped([1, 2], [1, 2]) }, /F32 \[in\]/],
    ['integers', { 'w.absmax': i64(1n) }, /F32 \[in\].*i64/],
    ['two widths', { 'w.absmax': f32(1), 'w.min': f32(1, 2) }, /different widths/],
    ['float tokens', { 'w.tokens': f32(1) }, /I64 \[1\]/],
    ['negative tokens', { 'w.tokens': i64(-1n) }, /number of tokens is impossible/],
    ['an alias of nothing', { 'w.absmax': f32(1) }, /alias: v: an alias names no linear/, FormatError, { alias: '{"v":"x"}' }],
    ['an alias of an alias', { 'w.absmax': f32(1) }, /names no linear/, FormatError, { alias: '{"v":"w","u":"v"}' }],
    ['an alias that is no JSON', { 'w.absmax': f32(1) }, /JSON/, FormatError, { alias: '{' }],
    ['an alias that is a number', { 'w.absmax': f32(1) }, /names no linear/, FormatError, { alias: '{"v":1}' }],
    ['an alias of a prototype', { 'w.absmax': f32(1) }, /a key is not allowed/, FormatError, { alias: '{"__proto__":"w"}' }],
  ])('%s is refused', async (_, tensors, message, family = FormatError, metadata = {}) => {
    const bytes = writeSafetensors(new Map(Object.entries(tensors)), new Map(Object.entries(metadata)));
    const attempt = openStatistics(memorySource(bytes, 's.safetensors'));
    await expect(attempt).rejects.toThrow(family);
    await expect(attempt).rejects.toThrow(message);
  });

  test.each<[StatisticKind, Tensor, RegExp]>([
    ['hessian', shaped([2, 2], [1, 0, 0, -1]), /diagonal of a Hessian is negative/],
    ['hessian', shaped([2, 2], [1, Number.NaN, 0, 1]), /\[1\].*hessian is not finite/],
    ['meansquare', f32(1, -1), /\[1\].*meansquare is negative or not finite.*-1/],
    ['absmax', f32(Number.NaN, 1), /\[0\].*absmax is negative or not finite/],
    ['max', f32(-1, Number.POSITIVE_INFINITY), /\[1\].*max is not finite/],
  ])('values of a bad %s are refused when they are read', async (kind, tensor, message) => {
    const bytes = writeSafetensors(new Map([[`w.${kind}`, tensor]]));
    const reader = await openStatistics(memorySource(bytes, 's.safetensors'));
    await expect(reader.read('w', kind)).rejects.toThrow(NumericError);
    await expect(reader.read('w', kind)).rejects.toThrow(message);
  });

  test('another width than the model’s is refused', async () => {
    const bytes = writeSafetensors(new Map([['model.layers.0.mlp.up_proj.hessian', shaped([1, 1], [1])]]));
    const reader = await openStatistics(memorySource(bytes, 's.safetensors'), await syntheticModel());
    const attempt = reader.read('model.layers.0.mlp.up_proj', 'hessian');
    await expect(attempt).rejects.toThrow(RecipeError);
    await expect(attempt).rejects.toThrow(/another width.*got 1, limit 256/);
  });

  test('statistics without mean squares are no importance matrix', async () => {
    const bytes = writeSafetensors(new Map([['model.layers.0.mlp.up_proj.absmax', f32(1)]]));
    const reader = await openStatistics(memorySource(bytes, 's.safetensors'));
    await expect(importanceFrom(reader, await syntheticModel())).rejects.toThrow(/no meansquare/);
  });

  test('a file of statistics is told from a model', async () => {
    const path = (name: string) => golden(name).pathname;
    expect(await isStatistics(path('stories260K.imatrix.gguf'))).toBe(true);
    expect(await isStatistics(path('stories260K-f16.gguf'))).toBe(false);
    expect(await isStatistics(path('nowhere.gguf'))).toBe(false);
    expect(await isStatistics(path(''))).toBe(false);
    const damaged = join(mkdtempSync(join(tmpdir(), 'fewbits-')), 'damaged.gguf');
    writeFileSync(damaged, readFileSync(path('stories260K-f16.gguf')).subarray(0, 1000));
    expect(await isStatistics(damaged)).toBe(false);
    rmSync(dirname(damaged), { recursive: true });
  });
});
