/**
 * The tokenizer of a Hugging Face folder as `tokenizer.*` keys, as llama.cpp's converter writes them (conversion/base.py
 * `_set_vocab_sentencepiece`, `_set_vocab_llama_hf`, `_set_vocab_gpt2`).
 */
import type { GgufValue, Json, JsonObject } from '../../checkpoint/types.ts';
import { ModelError } from '../../errors.ts';
import { readSentencePiece, recognisePreTokenizer } from '../../tokenizer/index.ts';
import { entries } from '../../tokenizer/json.ts';
import type { Sidecars } from './sidecars.ts';
import { specialKeys } from './special-keys.ts';

export type Entry = readonly [key: string, value: GgufValue];

/** `tokenizer.ggml.token_type`. */
const type = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

export interface VocabularyQuestion {
  sidecars: Sidecars;
  config: JsonObject;
  /** Rows of the embedding; ids without a token are padded. */
  vocab: number;
  /** Overrides what would be written as `tokenizer.ggml.pre`. */
  pre?: string;
}

export interface VocabularyKeys {
  entries: Entry[];
  warnings: string[];
}

/**
 * @throws ModelError when there is no tokenizer that GGUF can hold
 */
export function vocabularyKeys(question: VocabularyQuestion): VocabularyKeys {
  const { sidecars } = question;
  if (sidecars.bytes('tokenizer.model')) return sentencePieceKeys(question);
  const tokenizerJson = sidecars.object('tokenizer.json');
  if (!tokenizerJson) {
    return {
      entries: [],
      warnings: [
        'the model has no tokenizer.json or tokenizer.model: the GGUF file will have no vocabulary and llama.cpp will not load it',
      ],
    };
  }
  const model = entries(tokenizerJson['model']);
  if (model['type'] !== 'BPE') {
    throw new ModelError({
      what: 'GGUF cannot hold this kind of tokenizer here',
      where: 'tokenizer.json model.type',
      value: model['type'],
      limit: 'BPE',
    });
  }
  return model['byte_fallback'] === true ? byteFallbackKeys(question, tokenizerJson) : byteLevelKeys(question, tokenizerJson);
}

interface Token {
  text: string;
  score: number;
  type: number;
}

function sentencePieceKeys({ sidecars, config, vocab }: VocabularyQuestion): VocabularyKeys {
  const tokens = padding(vocab, -10000);
  const kinds: number[] = [type.unknown, type.control, type.unused, type.byte];
  readSentencePiece(sidecars.bytes('tokenizer.model')!)
    .pieces.slice(0, vocab)
    .forEach(({ piece, score, type: kind }, id) => {
      // User-defined pieces count as normal: the converter asks for the four other kinds only.
      tokens[id] = { text: piece, score, type: kinds.includes(kind) ? kind : type.normal };
    });
  for (const [text, id] of Object.entries(sidecars.object('added_tokens.json') ?? {})) {
    if (isId(id, vocab)) tokens[id] = { text, score: -1000, type: type.userDefined };
  }
  for (const [id, token] of Object.entries(entries(sidecars.object('tokenizer_config.json')?.['added_tokens_decoder']))) {
    const text = entries(token)['content'];
    if (isId(Number(id), vocab) && typeof text === 'string') {
      tokens[Number(id)] = { ...added(text, entries(token)['special'] === true), score: -1000 };
    }
  }
  return llamaKeys(tokens, sidecars, config);
}

/**
 * A SentencePiece vocabulary of which only tokenizer.json is left. Its merges are sorted by score, so that a token's first
 * merge gives a score that keeps the order; the converter writes -1000 for all, with which llama.cpp merges from the left.
 */
function byteFallbackKeys({ sidecars, config, vocab }: VocabularyQuestion, tokenizerJson: JsonObject): VocabularyKeys {
  const tokens = padding(vocab, -1000);
  const ranks = new Map<string, number>();
  mergesOf(tokenizerJson).forEach(([left, right], rank) => {
    if (!ranks.has(left + right)) ranks.set(left + right, rank);
  });
  const unknown = entries(tokenizerJson['model'])['unk_token'];
  for (const [text, id] of vocabularyOf(tokenizerJson, vocab)) {
    const kind = text === unknown ? type.unknown : /^<0x[0-9A-F]{2}>$/.test(text) ? type.byte : type.normal;
    tokens[id] = { text, score: -1 - (ranks.get(text) ?? ranks.size), type: kind };
  }
  for (const { text, id, special } of addedTokens(tokenizerJson, vocab)) {
    if (text !== unknown) tokens[id] = { ...added(text, special), score: -1000 };
  }
  return llamaKeys(tokens, sidecars, config);
}

function llamaKeys(tokens: readonly Token[], sidecars: Sidecars, config: JsonObject): VocabularyKeys {
  const special = specialKeys(sidecars, config, tokens.length);
  return {
    entries: [
      ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
      ['tokenizer.ggml.pre', { type: 'string', value: 'default' }],
      ['tokenizer.ggml.tokens', strings(tokens.map(({ text }) => text))],
      ['tokenizer.ggml.scores', { type: 'array', of: 'f32', value: tokens.map(({ score }) => Math.fround(score)) }],
      ['tokenizer.ggml.token_type', { type: 'array', of: 'i32', value: tokens.map((token) => token.type) }],
      ...special.filter(([key, value]) => !isDefault(key, value)),
    ],
    warnings: [],
  };
}

/**
 * What llama.cpp assumes of a SentencePiece vocabulary anyway. Left out, a folder gives the same file whether or not
 * tokenizer_config.json lies beside its tokenizer.model.
 */
const llamaDefaults: Readonly<Record<string, number | boolean>> = {
  'tokenizer.ggml.unknown_token_id': 0,
  'tokenizer.ggml.add_bos_token': true,
  'tokenizer.ggml.add_eos_token': false,
  'tokenizer.ggml.add_sep_token': false,
};

function isDefault(key: string, { value }: GgufValue): boolean {
  return Object.hasOwn(llamaDefaults, key) && llamaDefaults[key] === value;
}

function byteLevelKeys({ sidecars, config, vocab, pre }: VocabularyQuestion, tokenizerJson: JsonObject): VocabularyKeys {
  const tokens = padding(vocab, 0);
  for (const [text, id] of vocabularyOf(tokenizerJson, vocab)) tokens[id] = { text, score: 0, type: type.normal };
  for (const { text, id, special } of addedTokens(tokenizerJson, vocab)) tokens[id] = { ...added(text, special), score: 0 };

  const recognised = pre ?? recognisePreTokenizer(tokenizerJson);
  const merges = mergesOf(tokenizerJson).map((pair) => pair.map((part) => part.replaceAll(' ', '\u0120')).join(' '));
  return {
    entries: [
      ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
      ['tokenizer.ggml.pre', { type: 'string', value: recognised ?? 'default' }],
      ['tokenizer.ggml.tokens', strings(tokens.map(({ text }) => text))],
      ['tokenizer.ggml.token_type', { type: 'array', of: 'i32', value: tokens.map((token) => token.type) }],
      ...(merges.length ? [['tokenizer.ggml.merges', strings(merges)] as const] : []),
      ...specialKeys(sidecars, config, vocab),
    ],
    warnings: recognised
      ? []
      : [
          "llama.cpp has no name for this model's pre-tokenizer: 'default' is written and text may be cut otherwise; name another with the option pre",
        ],
  };
}

function padding(vocab: number, score: number): Token[] {
  return Array.from({ length: vocab }, (_, id) => ({ text: `[PAD${id}]`, score, type: type.unused }));
}

/** Added tokens that look like control tokens count as such, whatever the model's author said. */
function added(text: string, special: boolean): Omit<Token, 'score'> {
  const looksSpecial = ['<pad>', '<mask>', '<2mass>', '[@BOS@]'].includes(text) || /^(<\|.*\|>|<｜.*｜>|<unused.*>)$/s.test(text);
  return special || looksSpecial
    ? { text, type: type.control }
    : { text: text.replaceAll('\u2581', ' '), type: type.userDefined };
}

function vocabularyOf(tokenizerJson: JsonObject, vocab: number): [text: string, id: number][] {
  return Object.entries(entries(entries(tokenizerJson['model'])['vocab'])).map(([text, id]) => [
    text,
    checkedId(text, id, vocab),
  ]);
}

function addedTokens(tokenizerJson: JsonObject, vocab: number): { text: string; id: number; special: boolean }[] {
  const tokens = tokenizerJson['added_tokens'];
  return (Array.isArray(tokens) ? tokens : []).map(entries).map((token) => {
    const text = typeof token['content'] === 'string' ? token['content'] : '';
    return { text, id: checkedId(text, token['id'], vocab), special: token['special'] === true };
  });
}

function checkedId(token: string, id: Json | undefined, vocab: number): number {
  if (isId(id, vocab)) return id;
  throw new ModelError({
    what: `token ${JSON.stringify(token)} lies outside of the embedding`,
    where: 'tokenizer.json',
    value: id,
    limit: vocab,
    next: 'the tokenizer belongs to another model, or the embedding was not resized',
  });
}

function isId(id: Json | undefined, vocab: number): id is number {
  return typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < vocab;
}

/** Both forms of tokenizer.json: 'a b' and ['a', 'b']. */
function mergesOf(tokenizerJson: JsonObject): [left: string, right: string][] {
  const merges = entries(tokenizerJson['model'])['merges'];
  return (Array.isArray(merges) ? merges : []).map((merge) => {
    if (Array.isArray(merge) && typeof merge[0] === 'string' && typeof merge[1] === 'string') return [merge[0], merge[1]];
    const space = typeof merge === 'string' ? merge.indexOf(' ', 1) : -1;
    if (typeof merge !== 'string' || space < 0)
      throw new ModelError({ what: 'not a merge', where: 'tokenizer.json', value: merge });
    return [merge.slice(0, space), merge.slice(space + 1)];
  });
}

function strings(value: readonly string[]): GgufValue {
  return { type: 'array', of: 'string', value };
}
