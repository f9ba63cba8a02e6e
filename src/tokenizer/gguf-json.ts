/** A tokenizer.json that gives the ids of a GGUF vocabulary. */
import type { Json, JsonObject } from '../checkpoint/types.ts';
import { ModelError } from '../errors.ts';
import { SPACE_MARK } from './bytes.ts';
import { type GgufVocabulary, tokenType } from './gguf-vocabulary.ts';
import { type PreTokenizer, preTokenizerJson } from './pre-tokenizers.ts';

/** Of equal tokens the first counts; tokens that are no text and empty ones cannot be found in a text. */
export function idsByText({ tokens, invalid }: GgufVocabulary): Map<string, number> {
  const ids = new Map<string, number>();
  tokens.forEach((token, id) => {
    if (token !== '' && !invalid.has(id) && !ids.has(token)) ids.set(token, id);
  });
  return ids;
}

/** Tokens that are looked for in the text before anything else. */
export function specialIds({ tokens, types, invalid }: GgufVocabulary): number[] {
  const kinds: number[] = [tokenType.control, tokenType.userDefined, tokenType.unknown];
  return tokens.flatMap((token, id) => (token !== '' && !invalid.has(id) && kinds.includes(types[id]!) ? [id] : []));
}

/** Byte-level BPE: the same tokens, merges and cuts. */
export function byteLevelJson(vocabulary: GgufVocabulary, rule: PreTokenizer): JsonObject {
  return {
    ...common(vocabulary),
    normalizer: null,
    pre_tokenizer: preTokenizerJson(rule),
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: {
      ...bpe(idsByText(vocabulary), vocabulary.merges.map(splitMerge)),
      unk_token: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: rule.ignoreMerges ?? false,
    },
  };
}

/** The first space divides a merge, unless it is the first character itself. */
function splitMerge(merge: string): [string, string] {
  const space = merge.indexOf(' ', 1);
  if (space < 0)
    throw new ModelError({ what: 'a merge names one token instead of two', where: 'tokenizer.ggml.merges', value: merge });
  return [merge.slice(0, space), merge.slice(space + 1)];
}

/** A SentencePiece vocabulary as BPE with byte fallback, as transformers' converter writes Llama's. */
export function sentencePieceJson(vocabulary: GgufVocabulary): { json: JsonObject; warnings: string[] } {
  const { tokens, unknownId = 0, addSpacePrefix = true } = vocabulary;
  const ids = idsByText(vocabulary);
  const { merges, warnings } = mergesByScore(vocabulary, ids);
  const mark = { type: 'Replace', pattern: { String: ' ' }, content: SPACE_MARK };
  const unmark = { type: 'Replace', pattern: { String: SPACE_MARK }, content: ' ' };
  const json = {
    ...common(vocabulary),
    normalizer: { type: 'Sequence', normalizers: [...(addSpacePrefix ? [{ type: 'Prepend', prepend: SPACE_MARK }] : []), mark] },
    pre_tokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        unmark,
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(addSpacePrefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      ...bpe(ids, merges),
      unk_token: tokens[unknownId] ?? null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
    },
  };
  return { json, warnings };
}

/** Each token of n characters is cut at n - 1 places: a token without end would be cut for ever (CWE-407). */
const MAX_TOKEN_LENGTH = 512;

/**
 * SentencePiece merges the pair whose union has the highest score: every way to make a token of two tokens is a merge, and the
 * scores are their order.
 */
function mergesByScore(
  { tokens, types, scores }: GgufVocabulary,
  ids: ReadonlyMap<string, number>,
): { merges: [string, string][]; warnings: string[] } {
  const mergeable = [...ids].filter(([, id]) => types[id] === tokenType.normal || types[id] === tokenType.userDefined);
  const made = new Map<number, [string, string][]>();
  let long = 0;
  for (const [token, id] of mergeable) {
    if (token.length > MAX_TOKEN_LENGTH) {
      long++;
      continue;
    }
    const pairs: [string, string][] = [];
    for (let at = 1; at < token.length; at++) {
      if (/[\udc00-\udfff]/.test(token[at]!)) continue; // inside a character
      const pair: [string, string] = [token.slice(0, at), token.slice(at)];
      if (ids.has(pair[0]) && ids.has(pair[1])) pairs.push(pair);
    }
    if (pairs.length > 0) made.set(id, pairs);
  }
  const order = [...made.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b);
  const equal = order.filter((id, i) => i > 0 && scores[id] === scores[order[i - 1]!]).map((id) => tokens[id]!);
  return {
    merges: order.flatMap((id) => made.get(id)!),
    warnings: [
      ...(long > 0 ? [`tokenizer.json: ${long} tokens of more than ${MAX_TOKEN_LENGTH} characters cannot be merged`] : []),
      ...(equal.length > 0
        ? [`tokenizer.json: ${equal.length + 1} tokens share their score with another: text with them may be cut otherwise`]
        : []),
    ],
  };
}

function common(vocabulary: GgufVocabulary): JsonObject {
  const { tokens, types } = vocabulary;
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specialIds(vocabulary).map((id) => ({
      id,
      content: tokens[id]!,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: types[id] !== tokenType.userDefined,
    })),
    post_processor: null,
  };
}

function bpe(ids: ReadonlyMap<string, number>, merges: [string, string][]): JsonObject {
  return {
    type: 'BPE',
    dropout: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    // Tokens may be called `__proto__`: the object has no prototype.
    vocab: Object.assign(Object.create(null) as JsonObject, Object.fromEntries(ids)),
    merges: merges as Json[],
  };
}
