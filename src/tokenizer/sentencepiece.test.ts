import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { pieceType, readSentencePiece } from './sentencepiece.ts';

const file = new Uint8Array(readFileSync(new URL('../../test/golden/tokenizer/stories260K/tokenizer.model', import.meta.url)));

test('pieces, scores and types', () => {
  const model = readSentencePiece(file);
  expect(model).toMatchObject({ modelType: 2, addSpacePrefix: true });
  expect(model.pieces).toHaveLength(512);
  expect(model.pieces.slice(0, 4)).toEqual([
    { piece: '<unk>', score: 0, type: pieceType.unknown },
    { piece: '<s>', score: 0, type: pieceType.control },
    { piece: '</s>', score: 0, type: pieceType.control },
    { piece: '<0x00>', score: 0, type: pieceType.byte },
  ]);
  expect(model.pieces[261]).toEqual({ piece: '▁a', score: -2, type: pieceType.normal });
});

test('every shortened file is read or refused', () => {
  for (let length = 0; length < file.length; length += 37) {
    try {
      expect(readSentencePiece(file.subarray(0, length)).pieces.length).toBeGreaterThan(0);
    } catch (error) {
      expect(error).toMatchObject({ name: 'FormatError' });
    }
  }
});

test.each([
  ['nothing', []],
  ['a length past the end', [0x0a, 0xff, 0xff, 0xff, 0x0f]],
  ['an endless number', new Array<number>(12).fill(0x80)],
  ['an unknown wire type', [0x0b]],
  ['a number for a message', [0x08, 0x01]],
  ['a half float', [0x0a, 0x03, 0x15, 0x00, 0x00]],
])('refuses %s', (_, bytes) => {
  expect(() => readSentencePiece(Uint8Array.from(bytes))).toThrow(/not a SentencePiece model/);
});
