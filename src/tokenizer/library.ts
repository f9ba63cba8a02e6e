/**
 * The two Hugging Face packages as this folder uses them. Their declaration files import without file endings, which
 * Node's module resolution does not follow, so what is used is declared here.
 */
import * as jinja from '@huggingface/jinja';
import * as tokenizers from '@huggingface/tokenizers';
import type { JsonObject } from '../checkpoint/types.ts';
import { ModelError } from '../errors.ts';

export interface Library {
  /** Ids may be undefined where the vocabulary has neither the piece nor an unknown token. */
  encode(text: string, options: { add_special_tokens: boolean }): { ids: (number | undefined)[] };
  decode(ids: number[], options: { clean_up_tokenization_spaces: boolean }): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
  get_added_tokens_decoder(): Map<number, unknown>;
}

/** @huggingface/tokenizers: tokenizer.json, tokenizer_config.json. */
export const { Tokenizer: Library } = tokenizers as unknown as {
  Tokenizer: new (tokenizerJson: JsonObject, tokenizerConfig: JsonObject) => Library;
};

/**
 * Ids of a text.
 * @throws ModelError when a piece has no id, or the library fails
 */
export function encodeWith(library: Library, input: string, addSpecial: boolean): Int32Array {
  let ids: (number | undefined)[];
  try {
    ({ ids } = library.encode(input, { add_special_tokens: addSpecial }));
  } catch (cause) {
    throw new ModelError({
      what: `text cannot be tokenized: ${cause instanceof Error ? cause.message : cause}`,
      where: 'tokenizer',
    });
  }
  const missing = ids.indexOf(undefined);
  if (missing >= 0) {
    throw new ModelError({
      what: 'a piece of text has no token and the vocabulary no unknown token',
      where: 'tokenizer',
      value: missing,
    });
  }
  return Int32Array.from(ids as number[]);
}

export interface JinjaEnvironment {
  set(name: string, value: unknown): unknown;
}

export interface JinjaInterpreter {
  run(program: unknown): { value: unknown };
  evaluate(node: unknown, environment: JinjaEnvironment): { value: unknown };
}

/** @huggingface/jinja. */
export const { Environment, Interpreter, parse, tokenize } = jinja as unknown as {
  Environment: new () => JinjaEnvironment;
  Interpreter: new (environment: JinjaEnvironment) => JinjaInterpreter;
  parse(tokens: unknown): unknown;
  tokenize(template: string, options: { lstrip_blocks: boolean; trim_blocks: boolean }): unknown;
};
