/** Text to token ids and back. Ids as transformers gives them without special tokens added, unless said. */
export interface Tokenizer {
  readonly vocabSize: number;
  readonly bosId?: number;
  readonly eosIds: readonly number[];
  /** Whether the model wants BOS before a text (tokenizer_config.json `add_bos_token`, GGUF `tokenizer.ggml.add_bos_token`). */
  readonly addBos: boolean;
  encode(text: string): Int32Array;
  decode(ids: ArrayLike<number>): string;
}
