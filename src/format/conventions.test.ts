import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { writeGguf } from '../checkpoint/gguf/index.ts';
import { writeSafetensors } from '../checkpoint/safetensors/index.ts';
import { memorySource } from '../io/index.ts';
import type { Tensor } from '../tensor/index.ts';
import { conventions } from './conventions.ts';
import { open } from './open.ts';

const golden = new URL('../../test/golden/', import.meta.url);
const gguf = async (tensors: Record<string, Tensor>) => {
  const metadata = new Map([
    ['general.architecture', { type: 'string', value: 'unknown' } as const],
    ['general.file_type', { type: 'u32', value: 15 } as const],
  ]);
  return open({ source: memorySource(writeGguf(metadata, new Map(Object.entries(tensors))), 'a.gguf') });
};
/** One block with scale 1. */
const block = (type: 'q4_0' | 'q5_0' | 'q8_0', after: number[]): Tensor => ({
  type,
  shape: [1, 32],
  bytes: Uint8Array.of(0, 0x3c, ...after),
});
const fill = (count: number, first: number, rest: number) => [first, ...new Array<number>(count - 1).fill(rest)];

test('codes as ggml makes them, and others', async () => {
  const alike = await gguf({
    a: block('q4_0', fill(16, 0x90, 0x99)),
    b: block('q8_0', fill(32, 127, 5)),
    c: block('q5_0', [0xfe, 255, 255, 255, ...fill(16, 0x10, 0x11)]),
  });
  expect(await conventions(alike)).toEqual([
    'file type q4_k_m (15)',
    expect.stringMatching(/^q4_0: ggml's own convention, full range/),
    expect.stringMatching(/^q5_0: ggml's own convention, full range/),
    expect.stringMatching(/^q8_0: ggml's own convention, narrow range/),
  ]);
  const other = await gguf({
    a: block('q4_0', fill(16, 0x91, 0x99)),
    b: block('q8_0', fill(32, 128, 127)),
    c: block('q5_0', fill(20, 255, 255)),
  });
  expect((await conventions(other)).slice(1).every((line) => line.includes("not ggml's own convention"))).toBe(true);
  const zero: Tensor = { type: 'q4_0', shape: [1, 32], bytes: Uint8Array.of(0, 0, ...fill(16, 0x88, 0x88)) };
  expect((await conventions(await gguf({ a: zero })))[1]).toMatch(/ggml's own/);
});

test('a float file and a plain folder tell nothing more', async () => {
  const file = readFileSync(new URL('gguf/stories260K-f16.gguf', golden));
  expect(await conventions(await open({ source: memorySource(file, 'a.gguf') }))).toEqual(['file type f16 (1)']);
  const plain = writeSafetensors(new Map([['a', { type: 'f32', shape: [1], bytes: new Uint8Array(4) } as const]]));
  expect(await conventions(await open({ source: memorySource(plain, 'a.safetensors') }))).toEqual([]);
});

test('a file of ours names its recipe', async () => {
  const provenance = { version: '9.9', source: 'abc', recipe: { version: 1 } };
  const text = JSON.stringify({ version: 1, provenance, tensors: {} });
  const file = writeSafetensors(new Map(), new Map([['fewbits', text]]));
  expect(await conventions(await open({ source: memorySource(file, 'a.safetensors') }))).toEqual([
    'made by fewbits 9.9',
    'made from the source with fingerprint abc',
    'recipe {"version":1}',
  ]);
});
