/** A file of llama.cpp's converter against the Hugging Face folder that it came from. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { readGguf } from '../checkpoint/gguf/index.ts';
import type { GgufMetadata, GgufValue } from '../checkpoint/types.ts';
import { ModelError } from '../errors.ts';
import { memorySource } from '../io/memory.ts';
import { permuteIndex } from './permute.ts';
import { readSpec } from './read-config.ts';
import { readGgufSpec } from './read-gguf.ts';
import { ggufRopeFactors } from './rope.ts';
import { matchTensors, modelTensors } from './tensors.ts';

const golden = (path: string) => new Uint8Array(readFileSync(new URL(`../../test/golden/${path}`, import.meta.url)));
const config = JSON.parse(new TextDecoder().decode(golden('models/stories260K/config.json')));
const bytes = golden('gguf/stories260K-f16.gguf');
const open = () => readGguf(memorySource(bytes, 'stories260K-f16.gguf'));

test('says the same as config.json', async () => {
  const { metadata, tensors } = await open();
  const spec = readGgufSpec(metadata, tensors);
  // The metadata holds the epsilon in f32.
  expect(spec).toEqual({ ...readSpec(config), normEpsilon: Math.fround(1e-5) });
  expect(matchTensors(spec, tensors, 'gguf').found.size).toBe(tensors.size);
});

test('holds the rows of q and k in the permuted order', async () => {
  const { metadata, tensors } = await open();
  const file = golden('models/stories260K/model.safetensors');
  const view = new DataView(file.buffer);
  const start = 8 + Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, start)));
  const ggufView = new DataView(bytes.buffer);
  let compared = 0;
  for (const { name, gguf, permute, shape } of modelTensors(readGgufSpec(metadata, tensors))) {
    if (permute === undefined) continue;
    const [rows, cols] = shape as [number, number];
    const from = start + header[name].data_offsets[0];
    permuteIndex(rows, permute).forEach((row, r) => {
      const there = view.getFloat32(from + 4 * row * cols, true);
      const here = half(ggufView.getUint16(tensors.get(gguf)!.offset + 2 * r * cols, true));
      expect(Math.abs(there - here)).toBeLessThanOrEqual(Math.abs(there) * 2 ** -11 + 2 ** -25);
      compared++;
    });
  }
  expect(compared).toBe(5 * (64 + 32));
});

/** f16 bits -> number, normal and subnormal. */
function half(bits: number): number {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -size : size;
}

const u32 = (value: number): GgufValue => ({ type: 'u32', value });
const f32 = (value: number): GgufValue => ({ type: 'f32', value });
const text = (value: string): GgufValue => ({ type: 'string', value });

function metadataWith(changes: Record<string, GgufValue | undefined>): GgufMetadata {
  const all: Record<string, GgufValue | undefined> = {
    'general.architecture': text('llama'),
    'llama.embedding_length': u32(64),
    'llama.feed_forward_length': u32(128),
    'llama.block_count': u32(2),
    'llama.context_length': u32(256),
    'llama.attention.head_count': u32(4),
    'llama.attention.head_count_kv': u32(2),
    'llama.attention.layer_norm_rms_epsilon': f32(1e-6),
    'llama.vocab_size': u32(96),
    ...changes,
  };
  return new Map(Object.entries(all).flatMap(([key, value]) => (value ? [[key, value] as const] : [])));
}

test('rope scaling, frequency factors, windows, tied output', () => {
  const spec = (changes: Record<string, GgufValue>, ...names: string[]) =>
    readGgufSpec(metadataWith(changes), new Map(names.map((name) => [name, { shape: [96, 64] }])));
  expect(spec({}).tied).toBe(true);
  expect(spec({}, 'output.weight').tied).toBe(false);
  expect(spec({}, 'rope_freqs.weight').rope.scaling).toEqual({ kind: 'tensor', name: 'rope_freqs.weight' });
  expect(spec({ 'llama.rope.scale_linear': f32(2) }).rope.scaling).toEqual({ kind: 'linear', factor: 2 });
  const yarn = { 'llama.rope.scaling.type': text('yarn'), 'llama.rope.scaling.factor': f32(4) };
  expect(spec({ ...yarn, 'llama.rope.scaling.original_context_length': u32(64) }).rope.scaling).toEqual({
    kind: 'yarn',
    factor: 4,
    originalContext: 64,
    betaFast: 32,
    betaSlow: 1,
    truncate: true,
  });
  expect(spec({ 'llama.attention.sliding_window': u32(7) }).window).toEqual([7, 7]);
});

const wrong: [string, Record<string, GgufValue | undefined>, RegExp][] = [
  ['an unknown architecture', { 'general.architecture': text('rwkv') }, /unknown architecture \(got rwkv\); known are/],
  ['a missing key', { 'llama.block_count': undefined }, /llama\.\*: 'block_count' is missing/],
  ['a wrong type', { 'llama.embedding_length': text('64') }, /'embedding_length' must be a positive whole number/],
  ['an absurd count', { 'llama.block_count': { type: 'u64', value: 2n ** 63n } }, /'block_count' is too large/],
  ['heads that do not divide', { 'llama.attention.head_count_kv': u32(3) }, /cannot share 3 key\/value heads/],
  [
    'layers that differ',
    { 'llama.attention.head_count_kv': { type: 'array', of: 'u32', value: [2, 4] } },
    /'llama\.attention\.head_count_kv' differs between layers/,
  ],
  ['half a rotation', { 'llama.rope.dimension_count': u32(8) }, /rotation of a part of each head/],
];
test.each(wrong)('refuses %s', (_, changes, message) => {
  const read = () => readGgufSpec(metadataWith(changes), new Map());
  expect(read).toThrow(ModelError);
  expect(read).toThrow(message);
});

test('factors for rope_freqs.weight: fast waves are kept, slow ones divided', () => {
  const llama3 = { kind: 'llama3', factor: 8, lowFrequency: 1, highFrequency: 4, originalContext: 8192 } as const;
  const factors = ggufRopeFactors({ rope: { dims: 128, base: 500000, scaling: llama3 } })!;
  // Llama 3.1: 8192 f / 2 pi is above 4 turns up to i = 28 and below 1 turn from i = 35; at 34 it is 1.2236 turns.
  expect([factors[28], factors[34], factors[35], factors[63]]).toEqual([1, expect.closeTo(5.2573, 3), 8, 8]);
  expect(ggufRopeFactors({ rope: { dims: 128, base: 10000, scaling: { kind: 'none' } } })).toBeUndefined();
});
