import { describe, expect, it } from 'vitest';
import type { Tokenizer } from '../tokenizer/types.ts';
import { TextStream } from './text-stream.ts';

/** A token a byte. */
const bytes = {
  decode: (ids: ArrayLike<number>) => new TextDecoder().decode(Uint8Array.from(ids)),
} as Tokenizer;
/** A token a word; as SentencePiece does, the space before the first word of a text is left out. */
const words = { decode: (ids: ArrayLike<number>) => Array.from(ids, (id) => `w${id}`).join(' ') } as Tokenizer;

function pieces(tokenizer: Tokenizer, ids: Iterable<number>): string[] {
  const stream = new TextStream(tokenizer);
  return [...Array.from(ids, (id) => stream.push(id)), stream.end()];
}

describe('text of tokens as it grows', () => {
  it('comes in whole characters', () => {
    const text = 'aé€😀b';
    expect(pieces(bytes, new TextEncoder().encode(text))).toEqual(['a', '', 'é', '', '', '€', '', '', '', '😀', 'b', '']);
  });
  it('keeps spaces that depend on the token before', () => {
    expect(pieces(words, [1, 22, 3])).toEqual(['w1', ' w22', ' w3', '']);
  });
  it('shows bytes that belong to no character', () => {
    expect(pieces(bytes, [0x61, 0xe2, 0x62]).join('')).toBe('a\ufffdb');
    expect(pieces(bytes, [0x61, 0xf0, 0x9f]).join('')).toBe('a\ufffd');
    expect(pieces(bytes, new Array(500).fill(0xff)).join('')).toBe('\ufffd'.repeat(500));
  });
  it('equals the text decoded at once, for any cut of the bytes', () => {
    const all = new TextEncoder().encode('Žluťoučký kůň 🐎 příšerně úpěl ďábelské ódy — 你好');
    expect(pieces(bytes, all).join('')).toBe(new TextDecoder().decode(all));
  });
});
