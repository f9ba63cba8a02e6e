import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { diskStore, openFile, statPath } from '#io/disk';
import { FileError, LimitError } from '../errors.ts';
import { blobSource } from './blob.ts';
import { MAX_READ_BYTES } from './limits.ts';
import { MemoryStore, memorySource } from './memory.ts';
import { openSink, openSource } from './open.ts';
import { read } from './range.ts';
import type { ByteSource, Store } from './types.ts';

const folder = fs.mkdtempSync(join(tmpdir(), 'fewbits-io-'));
afterAll(() => fs.rmSync(folder, { recursive: true }));

const digits = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);
const bytes = (...values: number[]) => Uint8Array.from(values);
const path = join(folder, 'digits');
fs.writeFileSync(path, digits);

const sources: [string, () => Promise<ByteSource>][] = [
  ['memory', async () => memorySource(digits)],
  ['blob', async () => blobSource(new Blob([digits]), 'blob')],
  ['file', () => openFile(path)],
];

describe.each(sources)('a source of %s', (_, open) => {
  test('reads any range, and no other', async () => {
    const source = await open();
    expect(source.size).toBe(1000);
    expect(await read(source, 0, 1000)).toEqual(digits);
    expect(await read(source, 990, 10)).toEqual(digits.subarray(990));
    expect(await read(source, 1000, 0)).toEqual(bytes());
    for (const [offset, length] of [
      [990, 11],
      [1001, 0],
      [-1, 1],
      [0.5, 1],
      [0, -1],
      [2 ** 60, 1],
      [0, Number.NaN],
    ] as const)
      await expect(read(source, offset, length)).rejects.toThrow(FileError);
    await expect(source.readInto(new Uint8Array(11), 990)).rejects.toThrow(FileError);
    await source.close();
    await source.close();
  });

  test('fills a view on WebAssembly memory and leaves its surroundings', async () => {
    const source = await open();
    const memory = new Uint8Array(new WebAssembly.Memory({ initial: 1 }).buffer);
    await source.readInto(memory.subarray(100, 110), 7);
    expect(memory.subarray(99, 111)).toEqual(bytes(0, ...digits.subarray(7, 17), 0));
    await source.close();
  });

  test('is opened again from its handle', async () => {
    const source = await open();
    const again = await openSource(structuredClone(source.handle));
    expect(await read(again, 500, 3)).toEqual(digits.subarray(500, 503));
    await again.close();
    await source.close();
  });
});

test('one read is bounded', async () => {
  const endless = { ...memorySource(digits), size: 2 ** 40 };
  await expect(read(endless, 0, MAX_READ_BYTES + 1)).rejects.toThrow(LimitError);
});

test('a file that becomes shorter is noticed', async () => {
  const shrinking = join(folder, 'shrinking');
  fs.writeFileSync(shrinking, digits);
  const source = await openFile(shrinking);
  fs.truncateSync(shrinking, 10);
  await expect(read(source, 0, 1000)).rejects.toThrow(/shorter/);
  await source.close();
});

test('errors of the system name the file and say what to do', async () => {
  await expect(openFile(join(folder, 'absent'))).rejects.toThrow(/absent: no such file or folder; check the path/);
  await expect(openFile(folder)).rejects.toThrow(/not a plain file/);
  await expect(openFile('nul\u0000byte')).rejects.toThrow(FileError);
  await expect(diskStore(path).create('inside', 1)).rejects.toThrow(FileError);
  expect(await statPath(join(folder, 'absent'))).toBeUndefined();
});

const stores: [string, () => Store][] = [
  ['memory', () => new MemoryStore()],
  ['disk', () => diskStore(fs.mkdtempSync(join(folder, 'store-')))],
];

describe.each(stores)('a store in %s', (kind, make) => {
  test('what an earlier run wrote stays', async () => {
    const store = make();
    const first = await store.create('out.part', 8);
    await first.write(bytes(1, 2, 3), 2);
    await first.flush();
    await first.close();
    const second = await store.create('out.part', 8);
    expect(second.size).toBe(8);
    await second.write(bytes(9), 7);
    const back = new Uint8Array(8);
    await second.readInto(back, 0);
    expect(back).toEqual(bytes(0, 0, 1, 2, 3, 0, 0, 9));
    await second.close();
    expect((await store.stat('out.part'))?.size).toBe(8);
    await (await store.create('out.part', 4)).close();
    expect(await read(await store.open('out.part'), 0, 4)).toEqual(bytes(0, 0, 1, 2));
  });

  test('a sink does not write past its size', async () => {
    const sink = await make().create('a', 4);
    await expect(sink.write(bytes(1, 2), 3)).rejects.toThrow(FileError);
    await expect(sink.readInto(new Uint8Array(5), 0)).rejects.toThrow(FileError);
    await sink.close();
  });

  test('another thread writes through the handle', async () => {
    const sink = await make().create('a', 4);
    const other = await openSink(sink.handle);
    await other.write(bytes(7), 3);
    await other.close();
    const back = new Uint8Array(4);
    await sink.readInto(back, 0);
    expect(back[3]).toBe(7);
    await sink.close();
  });

  test('append, list, stat, rename and remove', async () => {
    const store = make();
    expect(await store.list()).toEqual([]);
    await store.append('state/journal', bytes(1));
    await store.append('state/journal', bytes(2, 3));
    await store.append('b', bytes(4));
    expect(await store.list()).toEqual(['b', 'state/journal']);
    expect(await store.stat('state')).toMatchObject({ kind: 'folder' });
    expect(await store.stat('state/journal')).toEqual({ kind: 'file', size: 3 });
    expect(await store.stat('absent')).toBeUndefined();
    await store.rename('b', 'deep/er/c');
    await store.rename('state', 'old');
    expect(await store.list()).toEqual(['deep/er/c', 'old/journal']);
    expect(await read(await store.open('old/journal'), 0, 3)).toEqual(bytes(1, 2, 3));
    await store.remove('old');
    await store.remove('absent');
    expect(await store.list()).toEqual(['deep/er/c']);
    await expect(store.open('absent')).rejects.toThrow(FileError);
    await expect(store.rename('absent', 'x')).rejects.toThrow(FileError);
    const free = await store.free();
    expect(kind === 'disk' ? free! > 0 : free === undefined).toBe(true);
  });

  test.each(['', '/etc/passwd', '../up', 'a/../../up', 'a//b', './a', 'a\\..\\b', 'C:x', 'a\u0000b'])(
    'the name %j does not leave the folder',
    async (name) => {
      const store = make();
      await expect(store.create(name, 1)).rejects.toThrow(FileError);
      await expect(store.append(name, bytes(1))).rejects.toThrow(FileError);
      await expect(store.open(name)).rejects.toThrow(FileError);
    },
  );
});

test('links to files are listed, circles of folders are not followed', async () => {
  const store = fs.mkdtempSync(join(folder, 'links-'));
  fs.symlinkSync(path, join(store, 'model.safetensors'));
  fs.symlinkSync(store, join(store, 'circle'));
  fs.symlinkSync(join(store, 'nowhere'), join(store, 'dangling'));
  expect(await diskStore(store).list()).toEqual(['model.safetensors']);
});
