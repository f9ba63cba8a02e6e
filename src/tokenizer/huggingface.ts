/**
 * Tokenizers from the files of a Hugging Face folder, over @huggingface/tokenizers: ids are the library's, decoding is by
 * bytes where the decoder is one of the two common kinds.
 */
import type { Json, JsonObject } from '../checkpoint/types.ts';
import { ModelError } from '../errors.ts';
import { byteDecoder, byteLevelBytes, SPACE_MARK, sentencePieceBytes, utf8 } from './bytes.ts';
import { entries, isObject, text } from './json.ts';
import { encodeWith, Library } from './library.ts';
import { prepared } from './prepare.ts';
import { type SpecialFiles, specialTokens } from './special-tokens.ts';
import type { Tokenizer } from './types.ts';

export interface HuggingFaceTokenizerFiles extends SpecialFiles {
  /** tokenizer.json */
  tokenizerJson: JsonObject;
}

/** A claimed id costs an array slot: no vocabulary in use is a tenth as large. */
const MAX_ID = 1 << 24;

const models: readonly Json[] = ['BPE', 'Unigram', 'WordPiece'];

/**
 * @throws ModelError when the library cannot make a tokenizer of the files
 */
export function tokenizerFromHuggingFace(files: HuggingFaceTokenizerFiles): Tokenizer {
  const library = load(files);
  const special = specialTokens(files, (token) => library.token_to_id(token));
  return {
    vocabSize: vocabSize(files.tokenizerJson),
    ...special,
    encode: (input) => encodeWith(library, input, false),
    decode: decoderOf(library, files.tokenizerJson),
  };
}

/** Ids with the special tokens that the post-processor adds, as transformers' `encode` gives them by default. */
export function encodeWithSpecialTokens(files: HuggingFaceTokenizerFiles, input: string): Int32Array {
  return encodeWith(load(files), input, true);
}

function load({ tokenizerJson, tokenizerConfig = {} }: HuggingFaceTokenizerFiles): Library {
  checkVocabulary(tokenizerJson);
  try {
    return new Library({ added_tokens: [], ...prepared(tokenizerJson) }, tokenizerConfig);
  } catch (cause) {
    throw new ModelError({
      what: `the tokenizer cannot be used: ${cause instanceof Error ? cause.message : cause}`,
      where: 'tokenizer.json',
      next: 'give a tokenizer.json written by transformers',
    });
  }
}

/** Every claimed id is checked before the library makes an array of that length. */
function checkVocabulary(tokenizerJson: JsonObject): void {
  const { type } = entries(tokenizerJson['model']);
  // The library guesses when it does not know a type.
  if (type !== undefined && !models.includes(type)) {
    throw new ModelError({ what: 'unknown kind of tokenizer', where: 'tokenizer.json', value: type, limit: models });
  }
  for (const [token, id] of idsOf(tokenizerJson)) {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= MAX_ID) {
      throw new ModelError({
        what: `bad id of token ${JSON.stringify(token)}`,
        where: 'tokenizer.json',
        value: id,
        limit: MAX_ID,
      });
    }
  }
}

function* idsOf(tokenizerJson: JsonObject): Generator<[string, Json | undefined]> {
  const model = entries(tokenizerJson['model']);
  const { vocab } = model;
  if (isObject(vocab)) yield* Object.entries(vocab);
  const added = tokenizerJson['added_tokens'];
  if (Array.isArray(added)) for (const token of added.filter(isObject)) yield [text(token['content']) ?? '', token['id']];
}

function vocabSize(tokenizerJson: JsonObject): number {
  const { vocab } = entries(tokenizerJson['model']);
  let highest = Array.isArray(vocab) ? vocab.length - 1 : -1;
  for (const [, id] of idsOf(tokenizerJson)) highest = Math.max(highest, id as number);
  return highest + 1;
}

function decoderOf(library: Library, tokenizerJson: JsonObject): Tokenizer['decode'] {
  const added = library.get_added_tokens_decoder();
  const kind = decoderKind(tokenizerJson['decoder']);
  if (kind === 'other') {
    return (ids) => (ids.length ? library.decode(Array.from(ids), { clean_up_tokenization_spaces: false }) : '');
  }
  const bytesOfToken = kind === 'byteLevel' ? byteLevelBytes : sentencePieceBytes;
  const bytesOf = (id: number): Uint8Array | undefined => {
    const token = library.id_to_token(id);
    return token === undefined ? undefined : added.has(id) ? utf8(token) : bytesOfToken(token);
  };
  return byteDecoder(bytesOf, kind === 'spacesDropped');
}

/** `spaces` and `spacesDropped`: SentencePiece marks, without and with the leading space taken away. */
function decoderKind(decoder: Json | undefined): 'byteLevel' | 'spaces' | 'spacesDropped' | 'other' {
  if (!isObject(decoder)) return 'other';
  if (decoder['type'] === 'ByteLevel') return 'byteLevel';
  if (decoder['type'] === 'Metaspace') return decoder['prepend_scheme'] === 'never' ? 'spaces' : 'spacesDropped';
  const steps = decoder['type'] === 'Sequence' && Array.isArray(decoder['decoders']) ? decoder['decoders'].filter(isObject) : [];
  const types = steps.map((step) => step['type']).join(' ');
  const replaces = steps[0]?.['content'] === ' ' && entries(steps[0]['pattern'])['String'] === SPACE_MARK;
  if (types === 'Replace ByteFallback Fuse' && replaces) return 'spaces';
  const strip = steps.at(-1);
  const one = strip?.['content'] === ' ' && strip['start'] === 1 && (strip['stop'] ?? 0) === 0;
  return types === 'Replace ByteFallback Fuse Strip' && replaces && one ? 'spacesDropped' : 'other';
}
