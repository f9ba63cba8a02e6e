/** Which ids begin and end a text, from the configuration files beside tokenizer.json. */
import type { Json, JsonObject } from '../checkpoint/types.ts';
import { entries, isObject, list, text } from './json.ts';
import type { Tokenizer } from './types.ts';

export interface SpecialFiles {
  tokenizerJson?: JsonObject;
  /** tokenizer_config.json */
  tokenizerConfig?: JsonObject;
  /** special_tokens_map.json */
  specialTokensMap?: JsonObject;
  /** generation_config.json */
  generationConfig?: JsonObject;
  /** config.json */
  config?: JsonObject;
}

/**
 * The generation configuration names every token that ends a text; the others name one. BOS comes from the tokenizer's own
 * files first: config.json often holds a default of the architecture.
 */
export function specialTokens(
  files: SpecialFiles,
  idOf: (token: string) => number | undefined,
): Pick<Tokenizer, 'bosId' | 'eosIds' | 'addBos'> {
  const named = (key: string): number[] =>
    [files.tokenizerConfig, files.specialTokensMap].flatMap((file) => {
      const token = content(file?.[key]);
      const id = token === undefined ? undefined : idOf(token);
      return id === undefined ? [] : [id];
    });
  const numbered = (file: JsonObject | undefined, key: string): number[] =>
    list(file?.[key]).filter((id): id is number => typeof id === 'number' && Number.isInteger(id) && id >= 0);

  const bos = [
    ...named('bos_token'),
    ...numbered(files.generationConfig, 'bos_token_id'),
    ...numbered(files.config, 'bos_token_id'),
  ];
  const eos = [
    numbered(files.generationConfig, 'eos_token_id'),
    named('eos_token').slice(0, 1),
    numbered(files.config, 'eos_token_id'),
  ];
  const bosId = bos[0];
  return {
    ...(bosId !== undefined && { bosId }),
    eosIds: [...new Set(eos.find((ids) => ids.length) ?? [])],
    addBos: bosId !== undefined && addsBos(files, content(files.tokenizerConfig?.['bos_token']), bosId),
  };
}

/** `add_bos_token` where it is said, else whether the post-processor puts BOS first. */
function addsBos({ tokenizerConfig, tokenizerJson }: SpecialFiles, bos: string | undefined, bosId: number): boolean {
  const said = tokenizerConfig?.['add_bos_token'];
  if (typeof said === 'boolean') return said;
  const post = entries(tokenizerJson?.['post_processor']);
  const processors = Array.isArray(post['processors']) ? post['processors'].filter(isObject) : [post];
  return processors.some((processor) => {
    if (processor['type'] !== 'TemplateProcessing') return false;
    const first = entries(entries(list(processor['single'])[0])['SpecialToken'])['id'];
    const token = text(first);
    if (token === undefined) return false;
    const ids = entries(entries(processor['special_tokens'])[token])['ids'];
    return token === bos || list(ids)[0] === bosId;
  });
}

/** The text of a token: files write it as a string or as an AddedToken object. */
export function content(token: Json | undefined): string | undefined {
  return text(isObject(token) ? token['content'] : token);
}
