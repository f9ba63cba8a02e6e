import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { JsonObject } from '../checkpoint/types.ts';
import { preTokenizerJson, preTokenizers } from './pre-tokenizers.ts';
import { recognisePreTokenizer } from './recognise.ts';
import { sha256 } from './sha256.ts';

const tokenizer: JsonObject = JSON.parse(
  readFileSync(new URL('../../test/golden/tokenizer/tinystories-3.7m/tokenizer.json', import.meta.url), 'utf8'),
);
const model = tokenizer['model'] as JsonObject;
const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
const split = (Regex: string) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false });
const sequence = (...pretokenizers: JsonObject[]) => ({ type: 'Sequence', pretokenizers });
const words = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

test.each([
  ['gpt-2', { ...bytes, use_regex: true }, false],
  ['smollm', sequence({ type: 'Digits', individual_digits: true }, { ...bytes, use_regex: true }), false],
  ['llama-bpe', sequence(split(words), bytes), true],
  ['dbrx', sequence(split(words), bytes), false],
  ['qwen2', sequence(split(words.replace('{1,3}', '')), bytes), false],
  [undefined, sequence(split('.'), bytes), false],
  [undefined, { ...bytes, use_regex: true, add_prefix_space: true }, false],
  [undefined, { type: 'Whitespace' }, false],
])('%s by its pre-tokenizer', (name, pre, ignoreMerges) => {
  const json = { ...tokenizer, pre_tokenizer: pre as JsonObject, model: { ...model, ignore_merges: ignoreMerges } };
  expect(recognisePreTokenizer(json)).toBe(name);
});

test('each row of the table is recognised in what it is written as', () => {
  for (const row of preTokenizers) {
    const json = {
      ...tokenizer,
      pre_tokenizer: preTokenizerJson(row),
      model: { ...model, ignore_merges: row.ignoreMerges ?? false },
    };
    const name = recognisePreTokenizer(json)!;
    const found = preTokenizers.find(({ names }) => names.includes(name));
    expect(found?.patterns).toEqual(row.patterns);
    expect(found?.ignoreMerges).toBe(row.ignoreMerges);
  }
});

test('sha256', () => {
  for (const length of [0, 1, 55, 56, 63, 64, 65, 1000]) {
    const data = Uint8Array.from({ length }, (_, i) => (i * 37) & 255);
    expect(sha256(data)).toBe(createHash('sha256').update(data).digest('hex'));
  }
});
