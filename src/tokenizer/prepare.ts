/** Rewrites a tokenizer.json into one that gives the same ids in the Rust crate and suits the JavaScript library better. */
import type { Json, JsonObject } from '../checkpoint/types.ts';
import { SPACE_MARK } from './bytes.ts';
import { entries, isObject } from './json.ts';

export function prepared(tokenizerJson: JsonObject): JsonObject {
  const pre = tokenizerJson['pre_tokenizer'];
  return splitAtSpaces(isObject(pre) ? { ...tokenizerJson, pre_tokenizer: withNumerals(pre) } : tokenizerJson);
}

/** `Digits` means all numerals to the crate, so '\u00b2' and '\u00bd' too, and decimal digits only to the library. */
function withNumerals(pre: JsonObject): JsonObject {
  const steps = pre['pretokenizers'];
  if (Array.isArray(steps)) return { ...pre, pretokenizers: steps.map((step) => (isObject(step) ? withNumerals(step) : step)) };
  if (pre['type'] !== 'Digits') return pre;
  const Regex = pre['individual_digits'] === true ? '\\p{N}' : '\\p{N}+';
  return { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false };
}

/**
 * The library runs BPE over what the pre-tokenizer leaves together, and SentencePiece-like tokenizers leave a whole text.
 * Where no token has a space mark after another character, no merge crosses a word's beginning: cutting there gives the
 * same ids, and the library's cache of words begins to work.
 */
function splitAtSpaces(tokenizerJson: JsonObject): JsonObject {
  const model = entries(tokenizerJson['model']);
  const pre = tokenizerJson['pre_tokenizer'];
  const marksSpaces = isObject(pre) ? pre['type'] === 'Metaspace' : pre == null && replacesSpaces(tokenizerJson['normalizer']);
  if (model['type'] !== 'BPE' || !marksSpaces || !isObject(model['vocab'])) return tokenizerJson;
  for (const token in model['vocab']) if (crossesWords(token)) return tokenizerJson;
  const words: JsonObject = { type: 'Split', pattern: { Regex: WORDS }, behavior: 'Isolated', invert: true };
  return { ...tokenizerJson, pre_tokenizer: { type: 'Sequence', pretokenizers: isObject(pre) ? [pre, words] : [words] } };
}

const WORDS = `${SPACE_MARK}*[^${SPACE_MARK}]+|${SPACE_MARK}+`;

const spaceInside = new RegExp(`[^${SPACE_MARK}]${SPACE_MARK}`);

function crossesWords(token: string): boolean {
  return token.lastIndexOf(SPACE_MARK) > 0 && spaceInside.test(token);
}

function replacesSpaces(normalizer: Json | undefined): boolean {
  if (!isObject(normalizer)) return false;
  const list = normalizer['normalizers'];
  if (Array.isArray(list)) return list.some(replacesSpaces);
  return normalizer['type'] === 'Replace' && normalizer['content'] === SPACE_MARK;
}
