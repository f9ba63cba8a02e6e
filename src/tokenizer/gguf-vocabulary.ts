/** The `tokenizer.ggml.*` keys of a GGUF file, checked: what they claim fits together and lies in bounds. */
import type { GgufMetadata, GgufScalarType } from '../checkpoint/types.ts';
import { ModelError } from '../errors.ts';

/** `tokenizer.ggml.token_type`. */
export const tokenType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

export interface GgufVocabulary {
  /** 'gpt2': byte-level BPE; 'llama': SentencePiece BPE. */
  model: string;
  pre?: string;
  /** [vocabulary]; undecodable bytes are U+FFFD. */
  tokens: readonly string[];
  /** [vocabulary] the bytes of tokens that are not valid UTF-8. */
  invalid: ReadonlyMap<number, Uint8Array>;
  /** [vocabulary] */
  types: Int32Array;
  /** [vocabulary] */
  scores: Float32Array;
  merges: readonly string[];
  bosId?: number;
  eosIds: number[];
  unknownId?: number;
  addBos?: boolean;
  addSpacePrefix?: boolean;
}

const KEY = 'tokenizer.ggml.';

/**
 * @throws ModelError when a key is missing, of the wrong type or too short
 */
export function readGgufVocabulary(metadata: GgufMetadata): GgufVocabulary {
  const model = metadata.get(`${KEY}model`);
  if (model?.type !== 'string') {
    throw new ModelError({
      what: 'the GGUF file holds no tokenizer',
      where: `${KEY}model`,
      next: 'give the text as token ids, or a model with its tokenizer',
    });
  }
  const tokens = stringsAt(metadata, 'tokens');
  if (!tokens) throw new ModelError({ what: 'the tokenizer has no tokens', where: `${KEY}tokens` });
  const size = tokens.value.length;
  const pre = metadata.get(`${KEY}pre`);
  const bosId = idAt(metadata, 'bos_token_id', size);
  const unknownId = idAt(metadata, 'unknown_token_id', size);
  const eos = ['eos_token_id', 'eot_token_id', 'eom_token_id'].map((key) => idAt(metadata, key, size));
  const addBos = boolAt(metadata, 'add_bos_token');
  const addSpacePrefix = boolAt(metadata, 'add_space_prefix');
  return {
    model: model.value,
    ...(pre?.type === 'string' && { pre: pre.value }),
    tokens: tokens.value,
    invalid: invalidTokens(tokens),
    types: numbersAt(metadata, 'token_type', size, Int32Array, tokenType.normal),
    scores: numbersAt(metadata, 'scores', size, Float32Array, 0),
    merges: stringsAt(metadata, 'merges')?.value ?? [],
    eosIds: [...new Set(eos.filter((id) => id !== undefined))],
    ...(bosId !== undefined && { bosId }),
    ...(unknownId !== undefined && { unknownId }),
    ...(addBos !== undefined && { addBos }),
    ...(addSpacePrefix !== undefined && { addSpacePrefix }),
  };
}

interface Strings {
  value: readonly string[];
  bytes?: readonly Uint8Array[];
}

function stringsAt(metadata: GgufMetadata, key: string): Strings | undefined {
  const found = metadata.get(KEY + key);
  if (!found) return undefined;
  if (found.type !== 'array' || found.of !== 'string') throw wrongType(key, 'an array of strings');
  return found as Strings;
}

/** Tokens whose text is not what their bytes say: a real U+FFFD in a text must not match them. */
function invalidTokens({ value, bytes }: Strings): Map<number, Uint8Array> {
  const invalid = new Map<number, Uint8Array>();
  if (!bytes) return invalid;
  const encoder = new TextEncoder();
  value.forEach((token, id) => {
    const raw = bytes[id];
    if (!raw || !token.includes('\ufffd')) return;
    const encoded = encoder.encode(token);
    if (encoded.length !== raw.length || encoded.some((byte, i) => byte !== raw[i])) invalid.set(id, raw);
  });
  return invalid;
}

const numeric: readonly GgufScalarType[] = ['u8', 'i8', 'u16', 'i16', 'u32', 'i32', 'f32', 'f64'];

function numbersAt<T extends Int32Array | Float32Array>(
  metadata: GgufMetadata,
  key: string,
  size: number,
  Kind: { from(values: ArrayLike<number>): T; new (length: number): T },
  missing: number,
): T {
  const found = metadata.get(KEY + key);
  if (!found) {
    const all = new Kind(size);
    all.fill(missing);
    return all;
  }
  if (found.type !== 'array' || !numeric.includes(found.of)) throw wrongType(key, 'an array of numbers');
  if (found.value.length < size) {
    throw new ModelError({ what: 'fewer entries than tokens', where: KEY + key, value: found.value.length, limit: size });
  }
  return Kind.from(found.value.slice(0, size) as number[]);
}

/** Ids outside the vocabulary are passed over, as llama.cpp does. */
function idAt(metadata: GgufMetadata, key: string, size: number): number | undefined {
  const found = metadata.get(KEY + key);
  if (!found || typeof found.value !== 'number') return undefined;
  return Number.isInteger(found.value) && found.value >= 0 && found.value < size ? found.value : undefined;
}

function boolAt(metadata: GgufMetadata, key: string): boolean | undefined {
  const found = metadata.get(KEY + key);
  return found?.type === 'bool' ? found.value : undefined;
}

function wrongType(key: string, wanted: string): ModelError {
  return new ModelError({
    what: `${wanted} was expected`,
    where: KEY + key,
    next: 'convert the model again: its tokenizer cannot be read',
  });
}
