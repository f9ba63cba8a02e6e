import { describe, expect, test } from 'vitest';
import { RecipeError } from '../errors.ts';
import type { TileErrors } from '../evaluate/tensor-report.ts';
import { MemoryStore, read } from '../io/index.ts';
import { openJournal, type RunParts } from './journal.ts';

const errors: TileErrors = {
  from: 0,
  rows: 2,
  values: 8,
  original: 1,
  quantized: 1,
  squaredError: 0.5,
  product: 1,
  maxError: 0.1,
};
const folder = 'out.unfinished';
const name = `${folder}/journal.jsonl`;

async function text(store: MemoryStore): Promise<string> {
  const source = await store.open(name);
  return new TextDecoder().decode(await read(source, 0, source.size));
}

const append = (store: MemoryStore, line: string) => store.append(name, new TextEncoder().encode(line));

describe('the journal', () => {
  test('remembers finished tiles for the same run', async () => {
    const store = new MemoryStore();
    const first = await openJournal(store, folder, 'key', false);
    expect(first.tiles).toEqual([]);
    await first.add([0, 0, errors]);
    await first.add([0, 2, null]);
    expect((await openJournal(store, folder, 'key', false)).tiles).toEqual([
      [0, 0, errors],
      [0, 2, null],
    ]);
  });

  test('remembers solves beside tiles, also behind a line that was cut', async () => {
    const store = new MemoryStore();
    const solve = { linears: ['q', 'k'], width: 8, tokens: 64, damp: 0.01, retries: 0, dead: 2 };
    const fallen = { ...solve, linears: ['o'], retries: 3, damp: 10, fallback: 'not positive definite' };
    const first = await openJournal(store, folder, 'key', false);
    expect(first.solves).toEqual([]);
    await first.add(solve);
    await first.add([0, 0, null]);
    await append(store, '{"linears":["v"],"tok');
    const second = await openJournal(store, folder, 'key', false);
    expect([second.solves, second.tiles]).toEqual([[solve], [[0, 0, null]]]);
    await second.add(fallen);
    expect((await openJournal(store, folder, 'key', false)).solves).toEqual([solve, fallen]);
    expect((await openJournal(store, folder, 'other', true)).solves).toEqual([]);
  });

  test('a last line that is cut is done again and does not spoil the next', async () => {
    const store = new MemoryStore();
    await (await openJournal(store, folder, 'key', false)).add([0, 0, null]);
    await append(store, '[0,2,{"from":2,"ro');
    const again = await openJournal(store, folder, 'key', false);
    expect(again.tiles).toEqual([[0, 0, null]]);
    await again.add([0, 2, null]);
    expect((await openJournal(store, folder, 'key', false)).tiles).toEqual([
      [0, 0, null],
      [0, 2, null],
    ]);
  });

  test('lines that are no entries are passed over', async () => {
    const store = new MemoryStore();
    await openJournal(store, folder, 'key', false);
    await append(store, 'null\n[1,2]\n["0",0,null]\n{"run":"key"}\n[1,0.5,null]\n');
    expect((await openJournal(store, folder, 'key', false)).tiles).toEqual([]);
  });

  test('of another run it is refused, and thrown away on demand with all that lies beside it', async () => {
    const store = new MemoryStore();
    await (await openJournal(store, folder, 'one', false)).add([0, 0, null]);
    await (await store.create(`${folder}/files/model-00002-of-00002.safetensors`, 4)).flush();
    await expect(openJournal(store, folder, 'two', false)).rejects.toThrow(RecipeError);
    await expect(openJournal(store, folder, 'two', false)).rejects.toThrow(/memory\/out.unfinished: .*--restart/);
    expect((await openJournal(store, folder, 'two', true)).tiles).toEqual([]);
    expect(await store.list()).toEqual([name]);
    expect(await text(store)).toBe('{"run":"two"}\n');
  });

  test('of another run: what differs is named', async () => {
    const store = new MemoryStore();
    const parts: RunParts = { version: '1', source: 's', recipe: 'r', statistics: '', text: 't', layout: 'l' };
    await openJournal(store, folder, 'one', false, parts);
    const said = (changes: Partial<RunParts>) => openJournal(store, folder, 'two', false, { ...parts, ...changes });
    await expect(said({ text: 'u' })).rejects.toThrow(/an unfinished output of another calibration text lies here/);
    await expect(said({ recipe: 'q', layout: 'm' })).rejects.toThrow(/of another recipe lies here/);
    await expect(said({ source: 'q', statistics: 'm', layout: 'n' })).rejects.toThrow(
      /of another source and another statistics file lies/,
    );
    await expect(said({ layout: 'm' })).rejects.toThrow(/of another division into files lies here/);
    await expect(said({})).rejects.toThrow(/of another recipe or source lies here/);
    await openJournal(store, folder, 'old', true);
    await expect(said({ text: 'u' })).rejects.toThrow(/of another recipe or source lies here/);
  });

  test('whose head is cut holds nothing', async () => {
    const store = new MemoryStore();
    await append(store, '{"ru');
    expect((await openJournal(store, folder, 'key', false)).tiles).toEqual([]);
    expect(await text(store)).toBe('{"run":"key"}\n');
  });
});
