/**
 * tokenizer.model: a protocol buffer `ModelProto` (sentencepiece_model.proto). Only the pieces and the few fields that a
 * vocabulary needs are read; the wire format is simple enough to walk by hand, with every length checked against the bytes.
 */
import { FormatError } from '../errors.ts';

/** `SentencePiece.Type`, the numbers that GGUF's `tokenizer.ggml.token_type` uses too. */
export const pieceType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

export interface SentencePieceModel {
  /** By id. */
  pieces: { piece: string; score: number; type: number }[];
  /** `TrainerSpec.model_type`: 1 unigram, 2 BPE, 3 word, 4 char. */
  modelType: number;
  /** `NormalizerSpec.add_dummy_prefix`: whether a space is put before the text. */
  addSpacePrefix: boolean;
}

/**
 * @throws FormatError when the bytes are no SentencePiece model
 */
export function readSentencePiece(bytes: Uint8Array): SentencePieceModel {
  const model: SentencePieceModel = { pieces: [], modelType: 1, addSpacePrefix: true };
  for (const { field, value } of fields(bytes)) {
    if (field === 1) model.pieces.push(readPiece(message(value)));
    else if (field === 2) model.modelType = integer(message(value), 3) ?? 1;
    else if (field === 3) model.addSpacePrefix = (integer(message(value), 3) ?? 1) !== 0;
  }
  if (model.pieces.length === 0) throw bad('the model has no pieces', 0);
  return model;
}

function readPiece(bytes: Uint8Array): SentencePieceModel['pieces'][number] {
  const piece = { piece: '', score: 0, type: pieceType.normal as number };
  for (const { field, value, wire } of fields(bytes)) {
    if (field === 1 && wire === BYTES) piece.piece = new TextDecoder('utf-8', { ignoreBOM: true }).decode(value as Uint8Array);
    else if (field === 2 && wire === FIXED32) piece.score = float(value as Uint8Array);
    else if (field === 3 && wire === VARINT) piece.type = value as number;
  }
  return piece;
}

function float(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getFloat32(0, true);
}

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

interface Field {
  field: number;
  wire: number;
  /** A number for a varint, else the bytes. */
  value: number | Uint8Array;
}

function* fields(bytes: Uint8Array): Generator<Field> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (at >= bytes.length) throw bad('the model ends inside a number', at);
      const byte = bytes[at++]!;
      // Beyond 2^53 digits are lost; no field that is read here is that large.
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw bad('a number is longer than 10 bytes', at);
  };
  const take = (length: number): Uint8Array => {
    if (length > bytes.length - at) throw bad('a field reaches past the end of the model', at, length, bytes.length - at);
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const key = varint();
    const field = Math.floor(key / 8);
    const wire = key % 8;
    if (wire === VARINT) yield { field, wire, value: varint() };
    else if (wire === FIXED64) yield { field, wire, value: take(8) };
    else if (wire === BYTES) yield { field, wire, value: take(varint()) };
    else if (wire === FIXED32) yield { field, wire, value: take(4) };
    else throw bad('no such protocol buffer wire type', at, wire);
  }
}

function message(value: number | Uint8Array): Uint8Array {
  if (typeof value === 'number') throw bad('a message was expected, a number found', 0, value);
  return value;
}

function integer(bytes: Uint8Array, wanted: number): number | undefined {
  let found: number | undefined;
  for (const { field, value } of fields(bytes)) if (field === wanted && typeof value === 'number') found = value;
  return found;
}

function bad(what: string, at: number, value?: number, limit?: number): FormatError {
  return new FormatError({
    what: `not a SentencePiece model: ${what}`,
    where: `tokenizer.model byte ${at}`,
    ...(value !== undefined && { value }),
    ...(limit !== undefined && { limit }),
    next: 'give the tokenizer.model that belongs to the model',
  });
}
