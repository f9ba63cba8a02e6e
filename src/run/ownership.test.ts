import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { writeSafetensors } from '../checkpoint/safetensors/index.ts';
import { open } from '../format/index.ts';
import { randomTensor, syntheticModel } from '../format/synthetic.fixture.ts';
import { diskStore, MemoryStore } from '../io/index.ts';
import { parseRecipe, plan } from '../recipe/index.ts';
import { run } from './run.ts';
import { verify } from './verify.ts';

const folder = mkdtempSync(join(tmpdir(), 'fewbits-own-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const recipe = parseRecipe({ version: 1, container: 'fewbits', scheme: { kind: 'storage', type: 'q8_0' } });
const text = (value: string) => new TextEncoder().encode(value);

describe('what --force may replace', () => {
  test('a folder of ours, but none with files of others', async () => {
    const store = diskStore(join(folder, 'force'));
    const planned = await plan(await syntheticModel(), recipe, { output: 'out' });
    await run(planned, store);
    await expect(run(planned, store)).rejects.toThrow(/the output exists already/);
    await run(planned, store, { force: true });
    const theirs = join(folder, 'force', 'theirs');
    mkdirSync(theirs);
    writeFileSync(join(theirs, 'thesis.txt'), 'years of work');
    const onto = await plan(await syntheticModel(), recipe, { output: 'theirs' });
    await expect(run(onto, store, { force: true })).rejects.toThrow(/files that fewbits did not write/);
    expect(readFileSync(join(theirs, 'thesis.txt'), 'utf8')).toBe('years of work');
    expect((await store.list()).filter((name) => name.includes('unfinished'))).toEqual([]);
  });

  test('never the source', async () => {
    const path = join(folder, 'source.safetensors');
    writeFileSync(path, writeSafetensors(new Map([['w', randomTensor([64, 64], 1)]])));
    const before = readFileSync(path);
    const planned = await plan(await open(path), recipe, { output: 'source.safetensors' });
    await expect(run(planned, diskStore(folder), { force: true })).rejects.toThrow(/the output is the source itself/);
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  test('a report that is there already is not lost', async () => {
    const store = new MemoryStore('memory', [['out.safetensors.report.json', text('mine')]]);
    const bag = await open({ store: bagStore(1), name: 'bag.safetensors' });
    await expect(run(await plan(bag, recipe, { output: 'out.safetensors' }), store)).rejects.toThrow(
      /report\.json: the output exists/,
    );
    expect(await store.list()).toEqual(['out.safetensors.report.json']);
  });
});

function bagStore(seed: number): MemoryStore {
  return new MemoryStore('bags', [['bag.safetensors', writeSafetensors(new Map([['w', randomTensor([2048, 2048], seed)]]))]]);
}

describe('who works on an unfinished output', () => {
  const lock = 'out.safetensors.unfinished/lock';
  const planned = async (seed: number) =>
    plan(await open({ store: bagStore(seed), name: 'bag.safetensors' }), recipe, { output: 'out.safetensors' });

  test('one run at a time, in one process too', async () => {
    const store = diskStore(join(folder, 'twice'));
    const made = await planned(1);
    const results = await Promise.allSettled([run(made, store), run(made, store)]);
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(String(results.find((one) => one.status === 'rejected')!.reason)).toMatch(/another process is writing this output/);
    expect(await store.list()).toEqual(['out.safetensors', 'out.safetensors.report.json']);
  });

  test('the lock of a live process holds, of one that ended it does not', async () => {
    const store = diskStore(join(folder, 'locks'));
    await store.append(lock, text(`1 on ${hostname()}`));
    await expect(run(await planned(1), store)).rejects.toThrow(/another process is writing this output/);
    await store.remove(lock);
    await store.append(lock, text(`999999999 on ${hostname()}`));
    await run(await planned(1), store);
    expect(await store.list()).toEqual(['out.safetensors', 'out.safetensors.report.json']);
  });

  test('tiles of another model with the same shapes are not continued, verified or not', async () => {
    const store = new MemoryStore();
    const stop = new AbortController();
    const options = { signal: stop.signal, onProgress: () => stop.abort(), verify: 'none' } as const;
    await expect(run(await planned(1), store, options)).rejects.toThrow(/abort/i);
    await expect(run(await planned(2), store, { verify: 'none' })).rejects.toThrow(
      /unfinished output of another source lies here/,
    );
  });
});

describe('verify', () => {
  const path = join(folder, 'v.safetensors');
  const write = (first: number) => {
    const tensor = randomTensor([64, 64], 3);
    new DataView(tensor.bytes.buffer, tensor.bytes.byteOffset).setFloat32(0, first, true);
    writeFileSync(path, writeSafetensors(new Map([['w', tensor]])));
  };

  test('looks at the file that is there now', async () => {
    write(1);
    expect((await verify(await open(path))).ok).toBe(true);
    rmSync(path);
    write(Number.NaN);
    expect(await verify(await open(path))).toMatchObject({ ok: false, problems: ['w[0, 0] is NaN'] });
  });

  test('runs beside another', async () => {
    const models = await Promise.all([1, 2].map((seed) => open({ store: bagStore(seed), name: 'bag.safetensors' })));
    const both = await Promise.all(models.map((model) => verify(model, model)));
    expect(both.map(({ tensors }) => tensors[0]!.maxError)).toEqual([0, 0]);
  });

  test('says what it could not decode', async () => {
    const bag = new Map([
      ['ids', { type: 'i64', shape: [4], bytes: new Uint8Array(32) } as const],
      ['w', randomTensor([4, 4], 1)],
    ]);
    const other = new Map(bag).set('ids', { type: 'i64', shape: [4], bytes: new Uint8Array(32).fill(1) } as const);
    const opened = await Promise.all(
      [bag, other].map((tensors) =>
        open({ store: new MemoryStore('m', [['a.safetensors', writeSafetensors(tensors)]]), name: 'a.safetensors' }),
      ),
    );
    expect((await verify(opened[0]!)).tensors.map(({ name, checked }) => [name, checked])).toEqual([
      ['ids', 'bytes'],
      ['w', 'decoded'],
    ]);
    expect((await verify(opened[0]!, opened[1]!)).problems).toEqual(['ids differs from the original']);
  });
});
