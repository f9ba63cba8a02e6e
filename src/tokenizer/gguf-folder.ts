/** The tokenizer files of a Hugging Face folder, made from GGUF metadata. */
import type { GgufMetadata, JsonObject } from '../checkpoint/types.ts';
import { ModelError } from '../errors.ts';
import { tokenizerFromGguf } from './gguf.ts';
import { byteLevelJson, sentencePieceJson } from './gguf-json.ts';
import { type GgufVocabulary, readGgufVocabulary } from './gguf-vocabulary.ts';
import { preTokenizerNamed } from './pre-tokenizers.ts';
import type { Tokenizer } from './types.ts';

export interface TokenizerFiles {
  /** Files by name: tokenizer.json, tokenizer_config.json, generation_config.json. */
  files: Readonly<Record<string, JsonObject>>;
  /** Special token ids for config.json. */
  config: JsonObject;
  /** What the files cannot say; without files, why. */
  warnings: string[];
}

/** The files give the ids that `tokenizerFromGguf` gives, as far as tokenizer.json can express the vocabulary. */
export function tokenizerFilesFromGguf(metadata: GgufMetadata): TokenizerFiles {
  try {
    const tokenizer = tokenizerFromGguf(metadata);
    const vocabulary = readGgufVocabulary(metadata);
    const { json, warnings } =
      vocabulary.model === 'llama'
        ? sentencePieceJson(vocabulary)
        : { json: byteLevelJson(vocabulary, preTokenizerNamed(vocabulary.pre ?? 'default')!), warnings: [] };
    const ids = specialTokenIds(tokenizer);
    return {
      files: {
        'tokenizer.json': { ...json, post_processor: postProcessor(vocabulary, tokenizer) },
        'tokenizer_config.json': tokenizerConfig(metadata, vocabulary, tokenizer),
        'generation_config.json': ids,
      },
      config: ids,
      warnings: [...warnings, ...invalidTokens(vocabulary)],
    };
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return { files: {}, config: {}, warnings: [`no tokenizer.json is written: ${error.message}`] };
  }
}

function specialTokenIds({ bosId, eosIds }: Tokenizer): JsonObject {
  const [first, ...others] = eosIds;
  return {
    ...(bosId !== undefined && { bos_token_id: bosId }),
    ...(first !== undefined && { eos_token_id: others.length > 0 ? [...eosIds] : first }),
  };
}

/** BOS before a text, where the model wants it. */
function postProcessor({ tokens }: GgufVocabulary, { addBos, bosId }: Tokenizer): JsonObject | null {
  const token = bosId === undefined ? undefined : tokens[bosId];
  if (!addBos || token === undefined) return null;
  const bos = (type_id: number) => ({ SpecialToken: { id: token, type_id } });
  const text = (id: string, type_id: number) => ({ Sequence: { id, type_id } });
  return {
    type: 'TemplateProcessing',
    single: [bos(0), text('A', 0)],
    pair: [bos(0), text('A', 0), bos(1), text('B', 1)],
    special_tokens: { [token]: { id: token, ids: [bosId!], tokens: [token] } },
  };
}

function tokenizerConfig(metadata: GgufMetadata, vocabulary: GgufVocabulary, { addBos, bosId, eosIds }: Tokenizer): JsonObject {
  const { tokens, unknownId } = vocabulary;
  const template = metadata.get('tokenizer.chat_template');
  const padding = metadata.get('tokenizer.ggml.padding_token_id')?.value;
  const named = (key: string, id: unknown): JsonObject => {
    const token = typeof id === 'number' ? tokens[id] : undefined;
    return token === undefined ? {} : { [key]: token };
  };
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    clean_up_tokenization_spaces: false,
    add_bos_token: addBos,
    ...named('bos_token', bosId),
    ...named('eos_token', eosIds[0]),
    ...named('unk_token', vocabulary.model === 'llama' ? (unknownId ?? 0) : unknownId),
    ...named('pad_token', padding),
    ...(template?.type === 'string' && { chat_template: template.value }),
  };
}

function invalidTokens({ invalid }: GgufVocabulary): string[] {
  return invalid.size > 0 ? [`tokenizer.json: ${invalid.size} tokens that are not valid UTF-8 are left out`] : [];
}
