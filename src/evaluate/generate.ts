/** Text that a model writes after a prompt, token by token through the KV cache. */
import { ModelError, NumericError, RecipeError } from '../errors.ts';
import type { Decoder, LanguageModel } from '../graph/types.ts';
import { Random } from '../numeric/random.ts';
import { kvBytes } from '../quantize/kv/scheme.ts';
import type { KvScheme } from '../quantized/types.ts';
import type { Tokenizer } from '../tokenizer/types.ts';
import { columns, pieceLength } from './forward.ts';
import { type SampleOptions, sample } from './sample.ts';
import { TextStream } from './text-stream.ts';
import { bosOf, tokenize } from './windows.ts';

export interface GenerateOptions extends SampleOptions {
  /** At most this many tokens; default 128. */
  tokens?: number;
  /** Keys and values are stored so; default: as they are, in f32. */
  kv?: KvScheme;
  /** For temperature > 0; default 0. */
  seed?: number;
  signal?: AbortSignal;
  /** Called with each token and the text that it completes: whole characters, maybe ''. Without an id: what was held back at the end. */
  onToken?: (token: { id?: number; text: string }) => void;
}

export interface Generation {
  /** What follows the prompt. */
  text: string;
  /** Ids of that text; the end-of-text token is not among them. */
  ids: number[];
  /** ids.length */
  tokens: number;
  /** Tokens in the steps after the prompt, by the seconds of those steps; 0 when there was none. */
  tokensPerSecond: number;
  /** What keys and values of all tokens held at the end took, and what f16 would take. */
  cacheBytes?: number;
  cacheBytesF16?: number;
  /** Why it ended: the model wrote its end-of-text token, `tokens` were written, or the model's context is full. */
  stopped: 'eos' | 'tokens' | 'context';
}

const defaultTokens = 128;

/**
 * Greedy unless a temperature is given. BOS comes before the prompt where the model wants one.
 * @throws ModelError when the prompt is longer than the model's context, or empty for a model that knows no token to start with
 * @throws RecipeError when an option is out of range or the KV cache does not fit the model
 */
export async function generate(
  model: LanguageModel,
  tokenizer: Tokenizer,
  prompt: string,
  options: GenerateOptions = {},
): Promise<Generation> {
  if (options.kv) {
    const { kv, ...others } = options;
    const cached = model.withCache(kv);
    try {
      return await generate(cached, tokenizer, prompt, others);
    } finally {
      await cached.close();
    }
  }
  const { tokens: limit = defaultTokens, seed = 0, signal, onToken } = options;
  check({ ...options, tokens: limit, seed });
  const random = new Random(seed);
  const start = promptIds(model, tokenizer, prompt);
  const stream = new TextStream(tokenizer, start.at(-1));
  const ids: number[] = [];
  let text = '';
  let stopped: Generation['stopped'] = 'tokens';
  const decoder = await model.decoder(1);
  try {
    signal?.throwIfAborted();
    let logits = await prefill(decoder, start, model.spec.vocab, signal);
    const begin = performance.now();
    let steps = 0;
    while (ids.length < limit) {
      const id = next(logits, options, random);
      if (tokenizer.eosIds.includes(id)) {
        stopped = 'eos';
        break;
      }
      ids.push(id);
      const piece = stream.push(id);
      text += piece;
      onToken?.({ id, text: piece });
      if (ids.length === limit) break;
      if (decoder.length >= model.spec.context) {
        stopped = 'context';
        break;
      }
      signal?.throwIfAborted();
      logits = await decoder.step(Int32Array.of(id));
      steps++;
    }
    const seconds = (performance.now() - begin) / 1000;
    const rest = stream.end();
    if (rest) onToken?.({ text: rest });
    return {
      text: text + rest,
      ids,
      tokens: ids.length,
      tokensPerSecond: steps && steps / seconds,
      ...(decoder.cacheBytes !== undefined && {
        cacheBytes: decoder.cacheBytes,
        cacheBytesF16: kvBytes(model.spec, decoder.length),
      }),
      stopped,
    };
  } finally {
    await decoder.close();
  }
}

function promptIds(model: LanguageModel, tokenizer: Tokenizer, prompt: string): Int32Array {
  const { spec } = model;
  const ids = tokenize(spec, tokenizer, prompt, tokenizer.addBos ? bosOf(tokenizer) : undefined);
  if (ids.length > spec.context) {
    throw new ModelError({ what: 'the prompt is longer than the context of the model', value: ids.length, limit: spec.context });
  }
  if (ids.length > 0) return ids;
  // Models that take no BOS often start a text with the token that ended the one before.
  const first = tokenizer.bosId ?? tokenizer.eosIds[0];
  if (first === undefined)
    throw new ModelError({ what: 'the prompt is empty', next: 'this model needs at least one token to start' });
  return Int32Array.of(first);
}

/** Logits of the last token of the prompt, [vocab]. Long prompts go in pieces, since a step gives the logits of all its tokens. */
async function prefill(decoder: Decoder, ids: Int32Array, vocab: number, signal?: AbortSignal): Promise<Float32Array> {
  const piece = pieceLength(1, ids.length, vocab);
  let logits: Float32Array = new Float32Array(0);
  for (let at = 0; at < ids.length; at += piece) {
    signal?.throwIfAborted();
    logits = await decoder.step(columns(ids, ids.length, at, Math.min(at + piece, ids.length)));
  }
  return logits.subarray(logits.length - vocab);
}

function next(logits: Float32Array, options: SampleOptions, random: Random): number {
  const id = sample(logits, options, () => random.uniform());
  if (!Number.isFinite(logits[id]!)) throw new NumericError('the model computes logits that are not finite');
  return id;
}

function check({ tokens, seed, temperature = 0, topP = 1 }: GenerateOptions & { tokens: number; seed: number }): void {
  const rules: [name: string, value: number, fits: boolean, range: string][] = [
    ['tokens', tokens, Number.isInteger(tokens) && tokens >= 0, 'a whole number'],
    ['seed', seed, Number.isSafeInteger(seed), 'a whole number below 2^53'],
    ['temperature', temperature, Number.isFinite(temperature) && temperature >= 0, '0 or more'],
    ['top-p', topP, topP > 0 && topP <= 1, 'above 0 and at most 1'],
  ];
  for (const [name, value, fits, range] of rules) {
    if (!fits) throw new RecipeError({ what: `${name} has to be ${range}`, value: `${value}` });
  }
}
