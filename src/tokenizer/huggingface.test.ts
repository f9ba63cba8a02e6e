import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../checkpoint/types.ts';
import { encodeWithSpecialTokens, tokenizerFromHuggingFace } from './huggingface.ts';

const golden = new URL('../../test/golden/tokenizer/', import.meta.url);
const json = <T = JsonObject>(name: string): T => JSON.parse(readFileSync(new URL(name, golden), 'utf8'));
const texts = json<string[]>('strings.json');
const files = (model: string) => ({
  tokenizerJson: json(`${model}/tokenizer.json`),
  tokenizerConfig: json(`${model}/tokenizer_config.json`),
  specialTokensMap: json(`${model}/special_tokens_map.json`),
  config: json(`${model}/config.json`),
});

describe.each(['stories260K', 'tinystories-3.7m'])('%s', (model) => {
  const tokenizer = tokenizerFromHuggingFace(files(model));
  const want = json<number[][]>(`${model}.transformers.json`);

  test.each(texts.map((text, i) => ({ text, ids: want[i]! })))('transformers’ ids of $text', ({ text, ids }) => {
    expect([...tokenizer.encode(text)]).toEqual(ids);
  });
});

test('special tokens of the shared models', () => {
  expect(tokenizerFromHuggingFace(files('stories260K'))).toMatchObject({ vocabSize: 512, bosId: 1, eosIds: [2], addBos: true });
  expect(tokenizerFromHuggingFace(files('tinystories-3.7m'))).toMatchObject({
    vocabSize: 2048,
    bosId: 0,
    eosIds: [0],
    addBos: false,
  });
});

test('special tokens by every way of naming them', () => {
  const { tokenizerJson } = files('stories260K');
  const from = (rest: object) => {
    const { bosId, eosIds, addBos } = tokenizerFromHuggingFace({ tokenizerJson, ...rest });
    return { bosId, eosIds, addBos };
  };
  expect(from({})).toEqual({ bosId: undefined, eosIds: [], addBos: false });
  expect(from({ config: { bos_token_id: 1, eos_token_id: 2 } })).toEqual({ bosId: 1, eosIds: [2], addBos: true });
  expect(from({ generationConfig: { bos_token_id: 1, eos_token_id: [2, 0, 2] } })).toEqual({
    bosId: 1,
    eosIds: [2, 0],
    addBos: true,
  });
  expect(from({ specialTokensMap: { bos_token: { content: '<s>' }, eos_token: { content: '</s>' } } })).toEqual({
    bosId: 1,
    eosIds: [2],
    addBos: true,
  });
  expect(from({ tokenizerConfig: { bos_token: '<s>', add_bos_token: false } })).toMatchObject({ bosId: 1, addBos: false });
  expect(from({ config: { bos_token_id: null, eos_token_id: 'x' } })).toEqual({ bosId: undefined, eosIds: [], addBos: false });
});

test('with special tokens, as the post-processor adds them', () => {
  expect([...encodeWithSpecialTokens(files('stories260K'), 'Once')]).toEqual([1, 403]);
});

test('decoding is by bytes', () => {
  const byteLevel = tokenizerFromHuggingFace(files('tinystories-3.7m'));
  for (const text of ['Zoë 日本 🚀 x', ' a ', '<|endoftext|>é<|endoftext|>', "don 't !"])
    expect(byteLevel.decode(byteLevel.encode(text))).toBe(text);
  expect(byteLevel.decode(byteLevel.encode('é').slice(1))).toBe('\ufffd');
  expect(byteLevel.decode([])).toBe('');
  expect(byteLevel.decode([4096])).toBe('');
  const pieces = tokenizerFromHuggingFace(files('stories260K'));
  expect(pieces.decode(pieces.encode('Zoë 日本 🚀'))).toBe('Zoë 日本 🚀');
  expect(pieces.decode([1, 403])).toBe('<s> Once');
  expect(pieces.decode(pieces.encode('日').slice(0, 3))).toMatch(/\ufffd/);
});

test('words are not cut apart where a token spans them', () => {
  const base = {
    added_tokens: [],
    normalizer: null,
    post_processor: null,
    decoder: null,
    pre_tokenizer: { type: 'Metaspace', prepend_scheme: 'never' },
  };
  const model = { type: 'BPE', unk_token: null, merges: ['a ▁', 'a▁ b'], vocab: { a: 0, b: 1, '▁': 2, 'a▁': 3, 'a▁b': 4 } };
  expect([...tokenizerFromHuggingFace({ tokenizerJson: { ...base, model } }).encode('a b')]).toEqual([4]);
});

test('numerals that are no digits are cut apart as by the Rust crate', () => {
  const pre_tokenizer = {
    type: 'Sequence',
    pretokenizers: [
      { type: 'Digits', individual_digits: true },
      { type: 'ByteLevel', use_regex: false },
    ],
  };
  const vocab = { Â: 0, '²': 1, Ġ: 2, 'Â²': 3, ĠÂ: 4 };
  const model = { type: 'BPE', unk_token: null, merges: ['Ġ Â', 'Â ²'], vocab };
  const tokenizerJson = { added_tokens: [], normalizer: null, post_processor: null, decoder: null, pre_tokenizer, model };
  expect([...tokenizerFromHuggingFace({ tokenizerJson }).encode(' ²')]).toEqual([2, 3]);
});

test('bad files give a ModelError', () => {
  const { tokenizerJson } = files('tinystories-3.7m');
  const model = tokenizerJson['model'] as JsonObject;
  for (const bad of [
    {},
    { model: null },
    { ...tokenizerJson, model: { ...model, type: 'Alien' } },
    { ...tokenizerJson, model: { ...model, vocab: { a: 1e9 } } },
    { ...tokenizerJson, model: { ...model, vocab: { a: -1 } } },
    { ...tokenizerJson, model: { ...model, merges: [1, 2] } },
    { ...tokenizerJson, added_tokens: [{ id: 1.5, content: 'x' }] },
    { ...tokenizerJson, pre_tokenizer: { type: 'Split', pattern: { Regex: '(' } } },
  ] as JsonObject[]) {
    expect(() => tokenizerFromHuggingFace({ tokenizerJson: bad })).toThrow(expect.objectContaining({ name: 'ModelError' }));
  }
});
