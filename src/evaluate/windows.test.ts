import { describe, expect, it } from 'vitest';
import { ModelError, RecipeError } from '../errors.ts';
import type { ModelSpec } from '../model/types.ts';
import type { Tokenizer } from '../tokenizer/types.ts';
import { chunks, readText, strides, type Window } from './windows.ts';

const spec = { vocab: 100, context: 16, rope: { scaling: { kind: 'none' } } } as ModelSpec;
/** A token a character: its code minus 32. */
const tokenizer: Tokenizer = {
  vocabSize: 100,
  bosId: 99,
  eosIds: [],
  addBos: true,
  encode: (text) => Int32Array.from(text, (c) => c.charCodeAt(0) - 32),
  decode: (ids) => String.fromCharCode(...Array.from(ids, (id) => id + 32)),
};
const count = (n: number): Int32Array => Int32Array.from({ length: n }, (_, i) => i);
/** Indices in the text of the tokens a window scores, where ids are indices. */
const scored = ({ ids, from, to }: Window): number[] => [...ids.subarray(from + 1, to + 1)];

describe('llama.cpp chunks', () => {
  it('score the second half of each whole chunk', () => {
    const windows = chunks(count(21), 8);
    expect(windows.map(scored)).toEqual([
      [5, 6, 7],
      [13, 14, 15],
    ]);
  });
  it('score (N - 1) / 2 tokens of an odd chunk', () => {
    expect(chunks(count(7), 7).map(scored)).toEqual([[4, 5, 6]]);
  });
  it('start with BOS in place of their first token', () => {
    const windows = chunks(count(16), 8, 99);
    expect([...windows[1]!.ids]).toEqual([99, 9, 10, 11, 12, 13, 14, 15]);
  });
});

describe('strided windows', () => {
  it('leave the first token of each window out where they do not overlap', () => {
    expect(strides(count(10), 4, 4).map(scored)).toEqual([
      [1, 2, 3],
      [5, 6, 7],
    ]);
  });
  it('score each token once where they overlap', () => {
    expect(strides(count(11), 4, 2).map(scored)).toEqual([
      [1, 2, 3],
      [4, 5],
      [6, 7],
      [8, 9],
    ]);
    expect(strides(count(6), 4, 1).map(scored)).toEqual([[1, 2, 3], [4], [5]]);
    expect(strides(count(8), 4, 3).map(scored)).toEqual([
      [1, 2, 3],
      [4, 5, 6],
    ]);
  });
  it('may leave gaps', () => {
    expect(strides(count(10), 4, 6).map(scored)).toEqual([
      [1, 2, 3],
      [7, 8, 9],
    ]);
  });
});

describe('reading a text', () => {
  it('puts BOS before the whole text, then at each chunk, for llama.cpp only', () => {
    const text = 'abcdefghi';
    const { batches, tokens } = readText(spec, tokenizer, text, { context: 4 });
    expect(batches.map(({ ids }) => tokenizer.decode(ids.map((id) => (id === 99 ? 0 : id))))).toEqual([' abc efg']);
    expect(tokens).toBe(2);
    expect(tokenizer.decode(readText(spec, tokenizer, text, { protocol: 'strided', context: 4 }).batches[0]!.ids)).toBe(
      'abcdefgh',
    );
  });
  it('makes batches of one size but the last', () => {
    const { batches, tokens } = readText(spec, tokenizer, 'x'.repeat(41), { protocol: 'strided', context: 4, batch: 4 });
    expect(batches.map(({ windows }) => windows.length)).toEqual([4, 4, 2]);
    expect(batches.map(({ ids }) => ids.length)).toEqual([16, 16, 8]);
    expect(tokens).toBe(30);
  });
  it('bounds the logits of a batch', () => {
    const big = { ...spec, vocab: 150_000, context: 512 } as ModelSpec;
    const { batches } = readText(big, tokenizer, 'x'.repeat(512 * 3), { protocol: 'strided', context: 128 });
    // 3 windows of 128 x 150,000 logits are 230 MB.
    expect(batches.map(({ windows }) => windows.length)).toEqual([3, 3, 3, 3]);
  });
  it('says what does not fit', () => {
    const read = (text: string, options: object) => () => readText(spec, tokenizer, text, options);
    expect(read('abc', { protocol: 'strided', context: 8 })).toThrow(
      'the text has 3 tokens, one window needs 8; use a longer text or a context of at most 3',
    );
    expect(read('', {})).toThrow(RecipeError);
    expect(read('abc', { context: 17 })).toThrow('the context is longer than the model allows (got 17, limit 16)');
    expect(read('abc', { context: 2 })).toThrow(/at least 3 \(got 2\)/);
    expect(read('abc', { context: 4.5 })).toThrow(RecipeError);
    expect(read('abc', { context: 4, stride: 2 })).toThrow('the protocol llama.cpp has no stride (got 2)');
    expect(read('abc', { protocol: 'strided', context: 4, stride: 0 })).toThrow(RecipeError);
    expect(read('abc', { protocol: 'other', context: 4 })).toThrow('unknown protocol (got other)');
    expect(read('ab\u00ffd', { protocol: 'strided', context: 4 })).toThrow(ModelError);
    expect(() => readText(spec, { ...tokenizer, bosId: undefined } as unknown as Tokenizer, 'abcd', { context: 4 })).toThrow(
      ModelError,
    );
  });
});
