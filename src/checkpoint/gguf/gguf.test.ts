import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { FormatError } from '../../errors.ts';
import { memorySource } from '../../io/memory.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { readTensor } from '../tensors.ts';
import type { GgufValue, TensorEntry } from '../types.ts';
import { layoutGguf, openGguf, readGguf, splitFileName, writeGguf } from './index.ts';

const golden = new URL('../../../test/golden/gguf/', import.meta.url);
const file = new Uint8Array(readFileSync(new URL('stories260K-f16.gguf', golden)));
const facts = JSON.parse(readFileSync(new URL('stories260K.F16.json', golden), 'utf8'));
const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');

const upper: Record<string, string> = { string: 'STRING', u32: 'UINT32', f32: 'FLOAT32', i32: 'INT32', array: 'ARRAY' };
const tensor = (shape: number[], fill = 1): Tensor => ({
  type: 'f32',
  shape,
  bytes: new Uint8Array(4 * shape.reduce((a, b) => a * b, 1)).fill(fill),
});
const read = (bytes: Uint8Array) => readGguf(memorySource(bytes, 'test.gguf'));
const load = async (tensors: ReadonlyMap<string, TensorEntry>) => {
  const loaded = new Map<string, Tensor>();
  for (const [name, entry] of tensors) loaded.set(name, await readTensor(entry));
  return loaded;
};

describe('a file of llama.cpp', () => {
  test('metadata: order, types and values', async () => {
    const { metadata, alignment, version } = await read(file);
    expect(version).toBe(3);
    expect(alignment).toBe(facts.alignment);
    expect([...metadata.keys()]).toEqual(facts.kv_order);
    for (const [key, value] of metadata) {
      const want = facts.kv[key];
      expect(value.type === 'array' ? ['ARRAY', upper[value.of]] : [upper[value.type]]).toEqual(want.type);
      if (value.type === 'array') expect(value.value.length).toBe(want.count);
      else expect(value.value).toBe(want.value);
    }
  });

  test('tensors: names, shapes, places and bytes', async () => {
    const { tensors, dataOffset } = await read(file);
    expect(dataOffset).toBe(facts.data_offset);
    expect([...tensors.keys()]).toEqual(facts.tensors.map(({ name }: { name: string }) => name));
    for (const { name, ne, type, offset, bytes, sha256: hash } of facts.tensors) {
      const entry = tensors.get(name)!;
      expect(entry.shape.toReversed()).toEqual(ne);
      expect(entry.type.toUpperCase()).toBe(type);
      expect([entry.offset - dataOffset, entry.bytes]).toEqual([offset, bytes]);
      expect(sha256((await readTensor(entry)).bytes)).toBe(hash);
    }
  });

  test('planned again: the same header and the same file', async () => {
    const { metadata, tensors, dataOffset } = await read(file);
    const layout = layoutGguf(metadata, [...tensors.values()]);
    expect(Buffer.from(layout.header).equals(Buffer.from(file.subarray(0, dataOffset)))).toBe(true);
    expect(layout.fileSize).toBe(file.length);
    const again = writeGguf(metadata, await load(tensors));
    expect(sha256(again)).toBe(facts.file_sha256);
  });

  test('an importance matrix, written again with the same bytes', async () => {
    const bytes = new Uint8Array(readFileSync(new URL('stories260K.imatrix.gguf', golden)));
    const { metadata, tensors } = await read(bytes);
    expect(sha256(writeGguf(metadata, await load(tensors)))).toBe(sha256(bytes));
  });

  test('every shorter file is refused', async () => {
    for (let length = 0; length < file.length; length += 1777)
      await expect(read(file.subarray(0, length))).rejects.toThrow(FormatError);
  });
});

describe('values of every type', () => {
  const values: [string, GgufValue][] = [
    ['a', { type: 'u8', value: 255 }],
    ['b', { type: 'i8', value: -128 }],
    ['c', { type: 'u16', value: 65_535 }],
    ['d', { type: 'i16', value: -32_768 }],
    ['e', { type: 'u32', value: 4_294_967_295 }],
    ['f', { type: 'i32', value: -2_147_483_648 }],
    ['g', { type: 'f32', value: 0.5 }],
    ['h', { type: 'f64', value: 0.1 }],
    ['i', { type: 'bool', value: true }],
    ['j', { type: 'string', value: '\ufeffé中😀' }],
    ['k', { type: 'u64', value: 2 ** 53 - 1 }],
    ['l', { type: 'u64', value: 18_446_744_073_709_551_615n }],
    ['m', { type: 'i64', value: -9_223_372_036_854_775_808n }],
    ['n', { type: 'array', of: 'bool', value: [true, false] }],
    ['o', { type: 'array', of: 'u64', value: [1, 9_007_199_254_740_993n] }],
    ['p', { type: 'array', of: 'string', value: [] }],
    ['__proto__', { type: 'string', value: 'only a key' }],
  ];

  test('are read as they were written', async () => {
    const { metadata } = await read(writeGguf(values, new Map()));
    expect([...metadata]).toEqual(values);
  });

  test('strings that are not UTF-8 keep their bytes', async () => {
    const bytes = [Uint8Array.of(0x61), Uint8Array.of(0xff, 0xfe)];
    const file = writeGguf([['t', { type: 'array', of: 'string', value: ['a', '\ufffd\ufffd'], bytes }]], new Map());
    const { metadata } = await read(file);
    expect(metadata.get('t')).toEqual({ type: 'array', of: 'string', value: ['a', '\ufffd\ufffd'], bytes });
    expect(sha256(writeGguf(metadata, new Map()))).toBe(sha256(file));
  });

  test.each([
    ['u8', 256],
    ['i8', -129],
    ['u32', 1.5],
    ['u64', -1],
    ['i64', 2n ** 63n],
  ] as const)('%s does not hold %s', (type, value) => {
    expect(() => layoutGguf([['k', { type, value } as GgufValue]], [])).toThrow(/does not fit/);
  });
});

describe('layout', () => {
  test('another alignment needs its key', async () => {
    expect(() => layoutGguf([], [], 64)).toThrow(/general.alignment/);
    const file = writeGguf(
      [['general.alignment', { type: 'u32', value: 64 }]],
      new Map([
        ['a', tensor([3])],
        ['b', tensor([5])],
      ]),
    );
    const { tensors, alignment } = await read(file);
    expect(alignment).toBe(64);
    expect(tensors.get('b')!.offset - tensors.get('a')!.offset).toBe(64);
    expect(file.length % 64).toBe(0);
  });

  test('what ggml cannot read is not written', () => {
    const head = { name: 'a', type: 'f32' as const, shape: [1] };
    expect(() => layoutGguf([], [{ ...head, name: 'x'.repeat(64) }])).toThrow(/too long/);
    expect(() => layoutGguf([], [{ ...head, shape: [1, 1, 1, 1, 1] }])).toThrow(/dimensions/);
    expect(() => layoutGguf([], [{ ...head, type: 'q4_k', shape: [255] }])).toThrow(/whole blocks/);
    expect(() => layoutGguf([], [{ ...head, type: 'u8' }])).toThrow(/no type/);
    expect(() => layoutGguf([], [head, head])).toThrow(/same name twice/);
  });

  test('the offset of a fork of Q2_0 gets a hint', async () => {
    const shape = [16, 128];
    const heads = [
      { name: 'a', type: 'q2_0' as const, shape },
      { name: 'b', type: 'f32' as const, shape: [1] },
    ];
    const layout = layoutGguf([], heads);
    const file = new Uint8Array(layout.fileSize);
    file.set(layout.header);
    const view = new DataView(file.buffer);
    for (let at = 24; at < layout.header.length - 8; at++)
      if (view.getBigUint64(at, true) === BigInt(layout.tensors[1]!.offset - layout.dataOffset))
        view.setBigUint64(at, 544n, true);
    await expect(read(file)).rejects.toThrow(/has offset 544, expected 576.*fork of llama.cpp.*groups of 128/);
  });
});

describe('split models', () => {
  const part = (no: number, count: number, total: number, name: string) =>
    writeGguf(
      [
        ['general.name', { type: 'string', value: `part ${no}` }],
        ['split.no', { type: 'u16', value: no }],
        ['split.count', { type: 'u16', value: count }],
        ['split.tensors.count', { type: 'i32', value: total }],
      ],
      new Map([[name, tensor([4], no)]]),
    );
  const names = [0, 1, 2].map((i) => splitFileName('m', i, 3));
  const open = (parts: Uint8Array[], at: number) => {
    const source = (name: string) => memorySource(parts[names.indexOf(name)]!, name);
    return openGguf(source(names[at]!), names[at]!, async (name) => source(name));
  };

  test('names', () => expect(names[2]).toBe('m-00003-of-00003.gguf'));

  test('are opened from any of their files', async () => {
    const parts = [part(0, 3, 3, 'a'), part(1, 3, 3, 'b'), part(2, 3, 3, 'c')];
    for (const at of [0, 2]) {
      const { tensors, metadata, sources } = await open(parts, at);
      expect([...tensors.keys()]).toEqual(['a', 'b', 'c']);
      expect(metadata.get('general.name')?.value).toBe('part 0');
      expect(sources.length).toBe(3);
      expect((await readTensor(tensors.get('c')!)).bytes[0]).toBe(2);
    }
  });

  test.each([
    ['two files hold one tensor', [part(0, 3, 3, 'a'), part(1, 3, 3, 'a'), part(2, 3, 3, 'c')], /two files/],
    ['a file in another place', [part(0, 3, 3, 'a'), part(2, 3, 3, 'b'), part(1, 3, 3, 'c')], /does not belong/],
    ['a tensor is missing', [part(0, 3, 4, 'a'), part(1, 3, 4, 'b'), part(2, 3, 4, 'c')], /lacks tensors/],
  ] as const)('%s', async (_, parts, reason) => {
    await expect(open([...parts], 0)).rejects.toThrow(reason);
  });

  test('without its siblings', async () => {
    await expect(openGguf(memorySource(part(0, 3, 3, 'a')), 'other.gguf')).rejects.toThrow(/split model/);
  });
});
