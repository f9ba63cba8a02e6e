import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { GgufValue } from '../checkpoint/types.ts';
import { tokenizerFromGguf } from './gguf.ts';
import { preTokenizers } from './pre-tokenizers.ts';

const golden = new URL('../../test/golden/tokenizer/', import.meta.url);
const json = <T>(name: string): T => JSON.parse(readFileSync(new URL(name, golden), 'utf8'));

/** Texts without special tokens and lone surrogates. */
const texts = json<string[]>('strings.json').filter((text) => !text.includes('<|') && !/\p{Surrogate}/u.test(text));

/** A vocabulary in which every pair of neighbouring bytes of the texts is a token, so that every cut shows. */
function vocabularyOfPairs(): { tokens: string[]; merges: string[] } {
  let next = 256;
  const printable = (byte: number): boolean => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  const characters = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
  const merges = new Set<string>();
  for (const text of texts) {
    const bytes = new TextEncoder().encode(text);
    for (let i = 1; i < bytes.length; i++) merges.add(`${characters[bytes[i - 1]!]} ${characters[bytes[i]!]}`);
  }
  return { tokens: [...characters, ...[...merges].map((merge) => merge.replace(' ', ''))], merges: [...merges] };
}

const { tokens, merges } = vocabularyOfPairs();
const want = json<Record<string, string>>('pre-tokenizers.llama-cpp.json');

test.each(Object.entries(want))('%s cuts as llama.cpp does', (pre, digest) => {
  const tokenizer = tokenizerFromGguf(
    new Map<string, GgufValue>([
      ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
      ['tokenizer.ggml.pre', { type: 'string', value: pre }],
      ['tokenizer.ggml.tokens', { type: 'array', of: 'string', value: tokens }],
      ['tokenizer.ggml.merges', { type: 'array', of: 'string', value: merges }],
    ]),
  );
  const ids = texts.map((text) => [...tokenizer.encode(text)]);
  expect(createHash('sha256').update(JSON.stringify(ids)).digest('hex')).toBe(digest);
});

test('all but the approximated ones are compared', () => {
  const left = preTokenizers.flatMap(({ names }) => names).filter((name) => !Object.hasOwn(want, name));
  expect(left).toEqual(['tekken', 'gpt-4o', 'llama4', 'kanana2', 'talkie', 'minimax-m2', 'deepseek-coder']);
});
