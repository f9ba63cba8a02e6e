import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { FormatError } from '../../errors.ts';
import { memorySource } from '../../io/memory.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { readTensor } from '../tensors.ts';
import type { TensorEntry } from '../types.ts';
import { dtypeOf } from './dtypes.ts';
import { layoutSafetensors, planShards, readSafetensors, readShardIndex, shardIndexText, writeSafetensors } from './index.ts';

const golden = new URL('../../../test/golden/formats/safetensors/', import.meta.url);
const bytesOf = (name: string) => new Uint8Array(readFileSync(new URL(name, golden)));
const jsonOf = (name: string) => JSON.parse(readFileSync(new URL(name, golden), 'utf8'));

interface Valid {
  metadata: Record<string, string> | null;
  tensors: Record<string, { dtype: string; shape: number[]; hex: string | null }>;
}
const valid = Object.entries(jsonOf('valid.json').files as Record<string, Valid>);
const invalid = jsonOf('invalid.json').files as { file: string; note: string; package_accepts: boolean }[];

const load = async (name: string) => {
  const file = await readSafetensors(memorySource(bytesOf(name), name));
  const tensors = new Map<string, Tensor>();
  for (const [key, entry] of file.tensors) tensors.set(key, await readTensor(entry));
  return { tensors, metadata: file.metadata };
};

describe('files of the reference implementation', () => {
  test('there are as many as expected', () => {
    expect(valid.length).toBe(14);
    expect(invalid.length).toBe(41);
  });

  test.each(valid)('%s is read', async (name, want) => {
    const { tensors, metadata } = await load(`valid/${name}`);
    expect(Object.fromEntries(metadata ?? [])).toEqual(want.metadata ?? {});
    expect([...tensors.keys()].sort()).toEqual(Object.getOwnPropertyNames(want.tensors).sort());
    for (const [key, tensor] of tensors) {
      const { dtype, shape, hex } = Object.getOwnPropertyDescriptor(want.tensors, key)!.value;
      expect(dtypeOf(tensor.type)?.dtype).toBe(dtype);
      expect(tensor.shape).toEqual(shape);
      if (hex !== null) expect(Buffer.from(tensor.bytes).toString('hex')).toBe(hex);
    }
  });

  const written = valid.filter(([name]) => !/header-|unsorted|metadata-null/.test(name));
  test.each(written)('%s is written again with the same bytes', async (name) => {
    const { tensors, metadata } = await load(`valid/${name}`);
    const shuffled = new Map([...tensors].reverse());
    expect(Buffer.from(writeSafetensors(shuffled, metadata)).equals(Buffer.from(bytesOf(`valid/${name}`)))).toBe(true);
  });

  test.each(invalid)('$file is refused: $note', async ({ file }) => {
    await expect(load(`invalid/${file}`)).rejects.toThrow(FormatError);
  });
});

describe('reasons of refusal', () => {
  const reasons: Record<string, RegExp> = {
    'overlap.safetensors': /overlaps/,
    'hole.safetensors': /hole/,
    'trailing-bytes.safetensors': /after the last tensor/,
    'truncated-data.safetensors': /past the end/,
    'huge-header-length.safetensors': /header length is too large/,
    'header-over-limit.safetensors': /header length is too large/,
    'header-longer-than-file.safetensors': /header reaches past the end/,
    'duplicate-keys.safetensors': /same key twice/,
    'duplicate-field.safetensors': /same key twice/,
    'unknown-dtype.safetensors': /unknown dtype/,
    'float-shape.safetensors': /fraction/,
    'float-offset.safetensors': /fraction/,
    'product-overflow-to-zero.safetensors': /overflows/,
    'offset-over-64-bit.safetensors': /past 2\^53/,
    'bad-utf8.safetensors': /UTF-8/,
    'lone-surrogate.safetensors': /surrogate/,
    'subbyte-misaligned.safetensors': /end on a byte/,
    'deep-nesting.safetensors': /was expected/,
    'trailing-json.safetensors': /after the end/,
  };
  test.each(Object.entries(reasons))('%s', async (file, reason) => {
    await expect(load(`invalid/${file}`)).rejects.toThrow(reason);
  });
});

describe('shards', () => {
  test('the index of the reference implementation, read and written', async () => {
    const text = readFileSync(new URL('valid/sharded/model.safetensors.index.json', golden), 'utf8').trim();
    const files = readShardIndex(text, 'index');
    expect(files.get('layer.4.weight')).toBe('model-00003-of-00003.safetensors');
    const heads: TensorEntry[] = [];
    for (const [name, file] of files) {
      const { tensors } = await readSafetensors(memorySource(bytesOf(`valid/sharded/${file}`), file));
      heads.push(tensors.get(name)!);
    }
    const shards = planShards(heads, 5000);
    expect(shards.map(({ file, bytes }) => [file, bytes])).toEqual([
      ['model-00001-of-00003.safetensors', 4096],
      ['model-00002-of-00003.safetensors', 4096],
      ['model-00003-of-00003.safetensors', 2062],
    ]);
    expect(shardIndexText(shards)).toBe(text);
  });

  test.each(['../x.safetensors', '/etc/x.safetensors', 'a/b.safetensors', '..\\x.safetensors', 'model.bin', '.safetensors'])(
    'an index may not name %s',
    (file) => {
      expect(() => readShardIndex(JSON.stringify({ weight_map: { a: file } }), 'index')).toThrow(/plain .safetensors file name/);
    },
  );

  test('one shard needs no number, a large tensor has its own', () => {
    const head = (name: string, values: number) => ({ name, type: 'f32' as const, shape: [values] });
    expect(planShards([head('a', 4)]).map(({ file }) => file)).toEqual(['model.safetensors']);
    expect(planShards([head('a', 1), head('b', 100), head('c', 1)], 16).map(({ bytes }) => bytes)).toEqual([4, 400, 4]);
  });
});

describe('writing', () => {
  test('types and names that safetensors does not have are refused', () => {
    expect(() => layoutSafetensors([{ name: 'a', type: 'q4_k', shape: [256] }])).toThrow(/no dtype/);
    expect(() => layoutSafetensors([{ name: '__metadata__', type: 'f32', shape: [1] }])).toThrow(/cannot have this name/);
    const twice = { name: 'a', type: 'f32' as const, shape: [1] };
    expect(() => layoutSafetensors([twice, twice])).toThrow(/two tensors/);
  });

  test('names are ordered by their UTF-8 bytes', () => {
    const names = ['\u{1f600}', '\ufb01', 'b', 'a', 'ab'];
    const { offsets } = layoutSafetensors(names.map((name) => ({ name, type: 'u8', shape: [1] })));
    const byBytes = names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect([...offsets.keys()]).toEqual(byBytes);
  });
});
