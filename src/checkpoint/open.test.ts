import * as fs from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FileError, FormatError, ModelError } from '../errors.ts';
import { MemoryStore, memorySource } from '../io/memory.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { splitFileName, writeGguf } from './gguf/index.ts';
import { openCheckpoint } from './open.ts';
import { layoutSafetensors, planShards, SHARD_INDEX, shardIndexText, writeSafetensors } from './safetensors/index.ts';
import { readRows, readTensor } from './tensors.ts';
import type { Checkpoint } from './types.ts';

const text = (value: unknown) => new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));
const tensor = (shape: number[], fill: number): Tensor => ({
  type: 'u8',
  shape,
  bytes: Uint8Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => (fill + i) & 255),
});
const weights = new Map([
  ['a', tensor([4, 3], 1)],
  ['b', tensor([5], 100)],
]);
const single = writeSafetensors(weights, new Map([['format', 'pt']]));
const config = text({ model_type: 'llama', nested: { rope: [1, 2] } });

const model: [string, Uint8Array][] = [
  ['config.json', config],
  ['model.safetensors', single],
  ['tokenizer.json', text('{}')],
  ['chat_template.jinja', text('{{ cycler.__init__.__globals__.os.popen("id").read() }}')],
  ['README.md', text('read me')],
  ['pytorch_model.bin', Uint8Array.of(0x80, 2)],
  ['onnx/model.onnx', text('x')],
];
const heads = [...weights].map(([name, { type, shape }]) => ({ name, type, shape }));
const shards = planShards(heads, 12);
const sharded: [string, Uint8Array][] = [
  ['config.json', config],
  [SHARD_INDEX, text(shardIndexText(shards))],
  ...shards.map(({ file, tensors }): [string, Uint8Array] => [
    file,
    writeSafetensors(new Map(tensors.map(({ name }) => [name, weights.get(name)!]))),
  ]),
];
const gguf = (no: number, count: number, name: string) =>
  writeGguf(
    [
      ['split.no', { type: 'u16', value: no }],
      ['split.count', { type: 'u16', value: count }],
    ],
    new Map([[name, { type: 'f32' as const, shape: [2], bytes: new Uint8Array(8) }]]),
  );
const splits = [0, 1].map((i): [string, Uint8Array] => [splitFileName('m', i, 2), gguf(i, 2, `t${i}`)]);

const folder = fs.mkdtempSync(join(tmpdir(), 'fewbits-open-'));
const places: Record<string, [string, Uint8Array][]> = {
  model,
  sharded,
  files: [
    ['bag.safetensors', single],
    ['one.gguf', gguf(0, 1, 't0')],
    ...splits,
    ['weights.bin', Uint8Array.of(0x80, 2, 0)],
    ['text', text('hello, world')],
  ],
};
const served = new Map<string, Uint8Array>();
let server: Server;
let base: string;

beforeAll(async () => {
  for (const [place, files] of Object.entries(places))
    for (const [name, bytes] of files) {
      const path = join(folder, place, name);
      fs.mkdirSync(join(path, '..'), { recursive: true });
      fs.writeFileSync(path, bytes);
      served.set(`/${place}/${name}`, bytes);
    }
  server = createServer((request, response) => {
    const bytes = served.get(request.url ?? '');
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    if (!bytes || !range) return void response.writeHead(404).end();
    // Small text files come whole, as from servers that compress them.
    if (request.url?.endsWith('.json')) return void response.writeHead(200).end(bytes);
    const to = Math.min(Number(range[2]), bytes.length - 1);
    const headers = { 'content-range': `bytes ${range[1]}-${to}/${bytes.length}` };
    return void response.writeHead(206, headers).end(bytes.subarray(Number(range[1]), to + 1));
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  fs.rmSync(folder, { recursive: true });
  await new Promise((done) => server.close(done));
});

const ways: [string, (place: string, name?: string) => Promise<Checkpoint>][] = [
  ['a path', (place, name = '') => openCheckpoint(join(folder, place, name))],
  ['a URL', (place, name = '') => openCheckpoint(`${base}/${place}/${name}`)],
  ['a store', (place, name = '') => openCheckpoint({ store: new MemoryStore('store', places[place]!), name })],
  [
    'a folder in a store',
    (place, name) =>
      openCheckpoint({
        store: new MemoryStore(
          'store',
          places[place]!.map(([n, b]) => [`in/${n}`, b] as const),
        ),
        name: name ? `in/${name}` : 'in',
      }),
  ],
];

async function expectWeights({ tensors }: Checkpoint) {
  expect([...tensors.keys()].sort()).toEqual(['a', 'b']);
  for (const [name, entry] of tensors) expect(await readTensor(entry)).toEqual(weights.get(name));
}

describe.each(ways)('by %s', (_, open) => {
  test('a Hugging Face folder', async () => {
    const checkpoint = await open('model');
    expect(checkpoint.kind).toBe('huggingface');
    expect(checkpoint.config).toEqual({ model_type: 'llama', nested: { rope: [1, 2] } });
    expect(checkpoint.metadata?.get('format')).toBe('pt');
    expect(checkpoint.sidecars.map(({ name }) => name).sort()).toEqual(['README.md', 'chat_template.jinja', 'tokenizer.json']);
    await expectWeights(checkpoint);
    await checkpoint.close();
  });

  test('a sharded folder', async () => {
    const checkpoint = await open('sharded');
    expect(new Set([...checkpoint.tensors.values()].map(({ source }) => source)).size).toBe(2);
    await expectWeights(checkpoint);
    await checkpoint.close();
  });

  test('a folder by its config.json', async () => expectWeights(await open('model', 'config.json')));

  test('a bag of tensors', async () => {
    const checkpoint = await open('files', 'bag.safetensors');
    expect(checkpoint.kind).toBe('safetensors');
    await expectWeights(checkpoint);
  });

  test('a GGUF file, whole and split', async () => {
    expect([...(await open('files', 'one.gguf')).tensors.keys()]).toEqual(['t0']);
    const split = await open('files', splits[1]![0]);
    expect(split.kind).toBe('gguf');
    expect([...split.tensors.keys()]).toEqual(['t0', 't1']);
    await split.close();
  });
});

test('bytes that are open already', async () => {
  await expectWeights(await openCheckpoint({ source: memorySource(single, 'dropped') }));
  expect((await openCheckpoint({ source: memorySource(gguf(0, 1, 't0'), 'dropped') })).kind).toBe('gguf');
});

describe('refusals', () => {
  const inMemory = (...files: [string, Uint8Array][]) => openCheckpoint({ store: new MemoryStore('store', files) });
  test('nothing there', async () => {
    await expect(openCheckpoint(join(folder, 'absent'))).rejects.toThrow(FileError);
    await expect(openCheckpoint({ store: new MemoryStore(), name: 'absent' })).rejects.toThrow(FileError);
    await expect(openCheckpoint(`${base}/absent.gguf`)).rejects.toThrow(FileError);
    await expect(openCheckpoint(`${base}/absent`)).rejects.toThrow(ModelError);
    await expect(openCheckpoint('http://[/x')).rejects.toThrow(/not an address/);
    await expect(openCheckpoint(`${base}/%`)).rejects.toThrow(/not an address/);
  });
  test('other files', async () => {
    await expect(openCheckpoint(join(folder, 'files', 'weights.bin'))).rejects.toThrow(/pickle is never read/);
    await expect(openCheckpoint(join(folder, 'files', 'text'))).rejects.toThrow(/neither GGUF nor safetensors/);
    await expect(openCheckpoint(join(folder, 'files'))).rejects.toThrow(/config.json.*give the file itself/);
  });
  test('folders without safetensors', async () => {
    await expect(inMemory(['config.json', config], ['pytorch_model.bin', text('x')])).rejects.toThrow(/pickle is never read/);
    await expect(inMemory(['config.json', config])).rejects.toThrow(/no model.safetensors/);
    await expect(inMemory(['config.json', config], ['a.safetensors', single], ['b.safetensors', single])).rejects.toThrow(
      /several/,
    );
  });
  test('damaged configurations', async () => {
    await expect(inMemory(['config.json', text('{"a":1,"a":2}')], ['model.safetensors', single])).rejects.toThrow(FormatError);
    await expect(inMemory(['config.json', text('[1]')], ['model.safetensors', single])).rejects.toThrow(/object/);
    await expect(inMemory(['config.json', Uint8Array.of(0x7b, 0xff, 0x7d)], ['model.safetensors', single])).rejects.toThrow(
      /UTF-8/,
    );
  });
  test('an index that does not fit its shards', async () => {
    const index = (map: Record<string, string>) => [SHARD_INDEX, text({ weight_map: map })] as [string, Uint8Array];
    const shard: [string, Uint8Array] = ['s1.safetensors', single];
    await expect(inMemory(['config.json', config], index({ z: 's1.safetensors' }), shard)).rejects.toThrow(/lacks a tensor/);
    await expect(inMemory(['config.json', config], index({ a: 's2.safetensors' }), shard)).rejects.toThrow(FileError);
    const twice = index({ a: 's1.safetensors', b: 's2.safetensors' });
    await expect(inMemory(['config.json', config], twice, shard, ['s2.safetensors', single])).rejects.toThrow(/two shards/);
  });
});

describe('rows', () => {
  test('inside and outside', async () => {
    const { tensors } = await openCheckpoint({ source: memorySource(single) });
    const a = tensors.get('a')!;
    expect([...(await readRows(a, 1, 3))]).toEqual([4, 5, 6, 7, 8, 9]);
    expect((await readRows(a, 4, 4)).length).toBe(0);
    for (const [from, to] of [
      [0, 5],
      [-1, 1],
      [3, 2],
      [0.5, 1],
    ] as const)
      await expect(readRows(a, from, to)).rejects.toThrow(ModelError);
  });
  test('that do not begin on a byte', async () => {
    const { header, fileSize } = layoutSafetensors([{ name: 'f', type: 'f4', shape: [2, 3] }]);
    const file = new Uint8Array(fileSize);
    file.set(header);
    const { tensors } = await openCheckpoint({ source: memorySource(file) });
    await expect(readRows(tensors.get('f')!, 0, 1)).rejects.toThrow(/whole blocks/);
  });
});
