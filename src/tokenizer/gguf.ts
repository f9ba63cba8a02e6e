/** Tokenizers from GGUF metadata alone. Special tokens in the text become their ids, as with transformers. */
import type { GgufMetadata } from '../checkpoint/types.ts';
import { ModelError } from '../errors.ts';
import { byteDecoder, byteLevelBytes, byteTokenValue, SPACE_MARK, sentencePieceBytes, utf8 } from './bytes.ts';
import { byteLevelJson, idsByText, specialIds } from './gguf-json.ts';
import { type GgufVocabulary, readGgufVocabulary } from './gguf-vocabulary.ts';
import { encodeWith, Library } from './library.ts';
import { preTokenizerNamed, preTokenizers } from './pre-tokenizers.ts';
import { splitterAt } from './splitter.ts';
import { spmEncoder } from './spm.ts';
import type { Tokenizer } from './types.ts';

/**
 * @throws ModelError when the file holds no vocabulary or one of a kind that is not known
 */
export function tokenizerFromGguf(metadata: GgufMetadata): Tokenizer {
  const vocabulary = readGgufVocabulary(metadata);
  switch (vocabulary.model) {
    case 'gpt2':
      return byteLevelTokenizer(vocabulary);
    case 'llama':
      return sentencePieceTokenizer(vocabulary);
    default:
      throw new ModelError({
        what: 'no tokenizer for this kind of vocabulary',
        where: 'tokenizer.ggml.model',
        value: vocabulary.model,
        next: 'gpt2 and llama are known; take the Hugging Face folder with its tokenizer.json',
      });
  }
}

/** Byte-level BPE: a tokenizer.json with the same tokens, merges and cuts. */
function byteLevelTokenizer(vocabulary: GgufVocabulary): Tokenizer {
  const { tokens, merges, pre = 'default' } = vocabulary;
  const rule = preTokenizerNamed(pre);
  if (!rule) {
    throw new ModelError({
      what: 'unknown pre-tokenizer',
      where: 'tokenizer.ggml.pre',
      value: pre,
      next: `known are ${preTokenizers.flatMap(({ names }) => names).join(', ')}; take the Hugging Face folder with its tokenizer.json`,
    });
  }
  if (merges.length === 0) throw new ModelError({ what: 'the tokenizer has no merges', where: 'tokenizer.ggml.merges' });

  const special = specialIds(vocabulary);
  const library = new Library(byteLevelJson(vocabulary, rule), {});
  const isSpecial = new Set(special);
  return {
    ...common(vocabulary, rule.addBos ?? false),
    encode: (text) => encodeWith(library, text, false),
    decode: byteDecoder((id) => {
      const token = tokens[id];
      return token === undefined ? undefined : isSpecial.has(id) ? rawBytes(vocabulary, id) : byteLevelBytes(token);
    }, false),
  };
}

function sentencePieceTokenizer(vocabulary: GgufVocabulary): Tokenizer {
  const { tokens, scores, addSpacePrefix = true } = vocabulary;
  const ids = idsByText(vocabulary);
  const bytes = Int32Array.from({ length: 256 }, (_, byte) => {
    const name = `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
    return ids.get(name) ?? (byte < 0x80 ? ids.get(String.fromCharCode(byte)) : undefined) ?? -1;
  });
  const encodeWords = spmEncoder({ ids, scores, bytes, unknown: vocabulary.unknownId ?? 0 });
  const special = specialIds(vocabulary);
  const split = splitterAt(special.map((id) => tokens[id]!));
  const isSpecial = new Set(special);

  return {
    ...common({ ...withDefaults(vocabulary) }, true),
    encode(text) {
      const output: number[] = [];
      let prefix = addSpacePrefix;
      for (const part of split(text)) {
        const id = part.special ? ids.get(part.text) : undefined;
        if (id !== undefined) output.push(id);
        else
          for (const token of encodeWords((prefix ? ' ' : '').concat(part.text).replaceAll(' ', SPACE_MARK))) output.push(token);
        prefix = addSpacePrefix && id !== undefined;
      }
      return Int32Array.from(output);
    },
    decode: byteDecoder((id) => {
      const token = tokens[id];
      if (token === undefined) return undefined;
      return isSpecial.has(id) || vocabulary.invalid.has(id) ? rawBytes(vocabulary, id) : sentencePieceBytes(token);
    }, addSpacePrefix),
  };
}

/** llama.cpp's ids for SentencePiece models that name none. */
function withDefaults(vocabulary: GgufVocabulary): GgufVocabulary {
  const within = (id: number): boolean => id < vocabulary.tokens.length;
  return {
    ...vocabulary,
    ...(vocabulary.bosId === undefined && within(1) && { bosId: 1 }),
    eosIds: vocabulary.eosIds.length || !within(2) ? vocabulary.eosIds : [2],
  };
}

function common(vocabulary: GgufVocabulary, addBos: boolean): Omit<Tokenizer, 'encode' | 'decode'> {
  const { tokens, bosId, eosIds } = vocabulary;
  return {
    vocabSize: tokens.length,
    ...(bosId !== undefined && { bosId }),
    eosIds,
    addBos: bosId !== undefined && (vocabulary.addBos ?? addBos),
  };
}

function rawBytes({ tokens, invalid }: GgufVocabulary, id: number): Uint8Array {
  const token = tokens[id]!;
  return invalid.get(id) ?? (byteTokenValue(token) === undefined ? utf8(token) : sentencePieceBytes(token));
}
