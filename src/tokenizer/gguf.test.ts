import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { readGguf } from '../checkpoint/gguf/index.ts';
import type { GgufMetadata, GgufValue, JsonObject } from '../checkpoint/types.ts';
import { memorySource } from '../io/memory.ts';
import { tokenizerFromGguf } from './gguf.ts';
import { tokenizerFromHuggingFace } from './huggingface.ts';
import { entries } from './json.ts';
import type { Tokenizer } from './types.ts';

const golden = new URL('../../test/golden/', import.meta.url);
const json = <T>(name: string): T => JSON.parse(readFileSync(new URL(name, golden), 'utf8'));
const texts = json<string[]>('tokenizer/strings.json');
const prose = readFileSync(new URL('../../test/golden/tokenizer/README.md', import.meta.url), 'utf8')
  .replace(/\s+/g, ' ')
  .trim();

const strings = (value: readonly string[], bytes?: readonly Uint8Array[]): GgufValue => ({
  type: 'array',
  of: 'string',
  value,
  ...(bytes && { bytes }),
});
const numbers = (of: 'i32' | 'f32', value: readonly number[]): GgufValue => ({ type: 'array', of, value });

describe('SentencePiece vocabulary', () => {
  let metadata: GgufMetadata;
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    const file = readFileSync(new URL('gguf/stories260K-f16.gguf', golden));
    ({ metadata } = await readGguf(memorySource(file)));
    tokenizer = tokenizerFromGguf(metadata);
  });
  const want = json<number[][]>('tokenizer/stories260K.llama-cpp.json');

  test.each(texts.map((text, i) => ({ text, ids: want[i]! })))('llama.cpp’s ids of $text', ({ text, ids }) => {
    expect([...tokenizer.encode(text)]).toEqual(ids);
  });

  test('words give the ids of transformers', () => {
    const reference = tokenizerFromHuggingFace({ tokenizerJson: json<JsonObject>('tokenizer/stories260K/tokenizer.json') });
    expect([...tokenizer.encode(prose)]).toEqual([...reference.encode(prose)]);
  });

  test('text comes back, byte tokens joined to characters', () => {
    for (const text of ['Zoë 日本 🚀', ' two  spaces ', '\n\ttabs', ''])
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    const half = tokenizer.encode('é日').slice(0, -1);
    expect(tokenizer.decode(half)).toMatch(/\ufffd$/);
    expect(tokenizer.decode([99999, -1, 1.5])).toBe('');
  });

  test('llama.cpp’s defaults where the file says nothing', () => {
    expect(tokenizer).toMatchObject({ vocabSize: 512, bosId: 1, eosIds: [2], addBos: true });
    const bare = new Map([...metadata].filter(([key]) => !key.endsWith('_id')));
    expect(tokenizerFromGguf(bare)).toMatchObject({ bosId: 1, eosIds: [2], addBos: true });
  });

  test('without a space before the text', () => {
    const bare = tokenizerFromGguf(new Map(metadata).set('tokenizer.ggml.add_space_prefix', { type: 'bool', value: false }));
    expect(bare.encode('Once')).not.toEqual(tokenizer.encode('Once'));
    expect(bare.decode(bare.encode(' Once'))).toBe(' Once');
  });

  test('merges across words: a vocabulary with such tokens is merged as a whole', () => {
    const tokens = ['<unk>', 'a', 'b', '▁', 'a▁', 'a▁b', '<0x63>'];
    const whole = tokenizerFromGguf(
      new Map<string, GgufValue>([
        ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
        ['tokenizer.ggml.tokens', strings(tokens)],
        ['tokenizer.ggml.scores', numbers('f32', [0, 0, 0, 0, -1, -2, 0])],
        ['tokenizer.ggml.add_space_prefix', { type: 'bool', value: false }],
      ]),
    );
    expect([...whole.encode('a b')]).toEqual([5]);
    expect([...whole.encode('c')]).toEqual([6]);
    // Neither a byte token nor anything else: the unknown token.
    expect([...whole.encode('d')]).toEqual([0]);
  });

  test('of equal scores the leftmost pair is merged', () => {
    const even = tokenizerFromGguf(
      new Map<string, GgufValue>([
        ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
        ['tokenizer.ggml.tokens', strings(['<unk>', 'a', 'aa'])],
        ['tokenizer.ggml.scores', numbers('f32', [0, 0, -1])],
        ['tokenizer.ggml.add_space_prefix', { type: 'bool', value: false }],
      ]),
    );
    expect([...even.encode('aaa')]).toEqual([2, 1]);
    expect([...even.encode('aaaaa')]).toEqual([2, 2, 1]);
  });
});

/** The GGUF keys of a byte-level tokenizer.json. */
function byteLevelMetadata(tokenizerJson: JsonObject, pre: string): Map<string, GgufValue> {
  const model = entries(tokenizerJson['model']);
  const tokens = Object.entries(model['vocab'] as Record<string, number>).sort(([, a], [, b]) => a - b);
  const merges = (model['merges'] as (string | string[])[]).map((merge) => (Array.isArray(merge) ? merge.join(' ') : merge));
  return new Map<string, GgufValue>([
    ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
    ['tokenizer.ggml.pre', { type: 'string', value: pre }],
    ['tokenizer.ggml.tokens', strings(tokens.map(([token]) => token))],
    [
      'tokenizer.ggml.token_type',
      numbers(
        'i32',
        tokens.map(([token]) => (token === '<|endoftext|>' ? 3 : 1)),
      ),
    ],
    ['tokenizer.ggml.merges', strings(merges)],
    ['tokenizer.ggml.bos_token_id', { type: 'u32', value: 0 }],
    ['tokenizer.ggml.eos_token_id', { type: 'u32', value: 0 }],
  ]);
}

describe('byte-level vocabulary', () => {
  const tokenizerJson = json<JsonObject>('tokenizer/tinystories-3.7m/tokenizer.json');
  const metadata = byteLevelMetadata(tokenizerJson, 'gpt-2');
  const tokenizer = tokenizerFromGguf(metadata);
  const want = json<number[][]>('tokenizer/tinystories-3.7m.llama-cpp.json');

  test.each(texts.map((text, i) => ({ text, ids: want[i]! })))('llama.cpp’s ids of $text', ({ text, ids }) => {
    expect([...tokenizer.encode(text)]).toEqual(ids);
  });

  test('text comes back', () => {
    for (const text of ['Zoë 日本 🚀', ' two  spaces ', '<|endoftext|>', ''])
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    expect(tokenizer.decode(tokenizer.encode('é').slice(0, 1))).toBe('\ufffd');
    expect(tokenizer).toMatchObject({ vocabSize: 2048, bosId: 0, eosIds: [0], addBos: false });
  });

  test('every pre-tokenizer in the table works', async () => {
    const { preTokenizers } = await import('./pre-tokenizers.ts');
    for (const { names, addBos = false } of preTokenizers) {
      const other = tokenizerFromGguf(new Map(metadata).set('tokenizer.ggml.pre', { type: 'string', value: names[0]! }));
      expect(other.addBos).toBe(addBos);
      for (const text of texts.filter((one) => !/\p{Surrogate}/u.test(one))) expect(other.decode(other.encode(text))).toBe(text);
    }
  });

  test('refuses what it does not know, by name', () => {
    const with_ = (key: string, value: GgufValue): GgufMetadata => new Map(metadata).set(`tokenizer.ggml.${key}`, value);
    expect(() => tokenizerFromGguf(with_('pre', { type: 'string', value: 'klingon' }))).toThrow(/unknown pre-tokenizer.*klingon/);
    expect(() => tokenizerFromGguf(with_('model', { type: 'string', value: 'rwkv' }))).toThrow(/rwkv/);
    expect(() => tokenizerFromGguf(with_('merges', strings([])))).toThrow(/no merges/);
    expect(() => tokenizerFromGguf(with_('merges', strings(['ab'])))).toThrow(/one token instead of two/);
    expect(() => tokenizerFromGguf(with_('token_type', numbers('i32', [1])))).toThrow(/fewer entries than tokens/);
    expect(() => tokenizerFromGguf(with_('tokens', { type: 'u32', value: 1 }))).toThrow(/array of strings/);
    expect(() => tokenizerFromGguf(new Map())).toThrow(/no tokenizer/);
  });
});

test('tokens that are no UTF-8, look like bytes, repeat or are empty', () => {
  const bytes = [[0xff], [0x41], [0x3c], [0x42], [0x42], []].map((list) => Uint8Array.from(list));
  const tokenizer = tokenizerFromGguf(
    new Map<string, GgufValue>([
      ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
      ['tokenizer.ggml.tokens', strings(['\ufffd', 'A', '<0x-1>', 'B', 'B', ''], bytes)],
      ['tokenizer.ggml.scores', numbers('f32', [0, 0, 0, 0, 0, 0])],
      ['tokenizer.ggml.token_type', numbers('i32', [1, 1, 6, 1, 1, 1])],
      ['tokenizer.ggml.add_space_prefix', { type: 'bool', value: false }],
    ]),
  );
  expect([...tokenizer.encode('BA')]).toEqual([3, 1]);
  expect(tokenizer.decode([2])).toBe('<0x-1>');
  expect(tokenizer.decode([0, 4, 5])).toBe('\ufffdB');
  // Not the token of the invalid byte.
  expect([...tokenizer.encode('\ufffd')]).toEqual([0, 0, 0]);
});
