/**
 * Which tokens are scored with which context. Two protocols:
 *
 * - `llama.cpp` (tools/perplexity): the text is tokenized once, with BOS in front when the model wants one, and cut into chunks of N;
 *   the first token of each chunk is replaced by BOS when the model wants one; positions N/2 .. N-2 predict the next token and are
 *   scored, so that every scored token has at least N/2 tokens of context.
 * - `strided`: windows of N tokens without BOS start every S tokens; each token is scored once, in the first window that holds it. The
 *   first token of a window is scored only when an earlier window gave it context (S < N).
 *
 * Only whole chunks and windows count.
 */
import { ModelError, RecipeError } from '../errors.ts';
import type { ModelSpec } from '../model/types.ts';
import type { Tokenizer } from '../tokenizer/types.ts';

export type Protocol = 'llama.cpp' | 'strided';

export interface WindowOptions {
  /** Default 'llama.cpp'. */
  protocol?: Protocol;
  /** Tokens in a window; default 2048 or the model's limit. */
  context?: number;
  /** Tokens from one window to the next, for 'strided' only; default the context. */
  stride?: number;
  /** Windows in one forward pass; default 8, fewer where their logits would exceed `logitBytes`. */
  batch?: number;
  /** Bound on the f32 logits [batch, context, vocab] of one step, bytes; default 256 MB. */
  logitBytes?: number;
}

export interface Window {
  /** [context] */
  ids: Int32Array;
  /** Positions from <= p < to are scored: position p predicts ids[p + 1]. */
  from: number;
  to: number;
}

/** Windows that pass through the model together. */
export interface Batch {
  /** [windows.length, context] */
  ids: Int32Array;
  windows: readonly Window[];
}

export interface Reading {
  context: number;
  /** All of one size but the last, which may be smaller. */
  batches: Batch[];
  /** Scored positions. */
  tokens: number;
}

export const defaultLogitBytes = 256e6;
const defaultContext = 2048;
const defaultBatch = 8;

/**
 * Tokenizes and cuts a text.
 * @throws RecipeError when the options do not fit the model or the text is shorter than one window
 * @throws ModelError when the tokenizer and the model do not fit together
 */
export function readText(spec: ModelSpec, tokenizer: Tokenizer, text: string, options: WindowOptions = {}): Reading {
  const { protocol = 'llama.cpp', context = Math.min(defaultContext, spec.context) } = options;
  check(spec, { ...options, protocol, context });
  const bos = protocol === 'llama.cpp' && tokenizer.addBos ? bosOf(tokenizer) : undefined;
  const tokens = tokenize(spec, tokenizer, text, bos);
  if (tokens.length < context) {
    throw new RecipeError({
      what: `the text has ${tokens.length} tokens, one window needs ${context}`,
      next:
        tokens.length < smallestContext[protocol]
          ? 'use a longer text'
          : `use a longer text or a context of at most ${tokens.length}`,
    });
  }
  const windows = protocol === 'llama.cpp' ? chunks(tokens, context, bos) : strides(tokens, context, options.stride ?? context);
  const batch = Math.max(
    1,
    Math.min(options.batch ?? defaultBatch, Math.floor((options.logitBytes ?? defaultLogitBytes) / (context * spec.vocab * 4))),
  );
  return {
    context,
    batches: inBatches(windows, batch, context),
    tokens: windows.reduce((sum, { from, to }) => sum + to - from, 0),
  };
}

/** tokens: the whole text, BOS included where `bos` is given. Only whole chunks count. */
export function chunks(tokens: Int32Array, context: number, bos?: number): Window[] {
  return Array.from({ length: Math.floor(tokens.length / context) }, (_, k) => {
    const ids = tokens.slice(k * context, (k + 1) * context);
    if (bos !== undefined) ids[0] = bos;
    return { ids, from: Math.floor(context / 2), to: context - 1 };
  });
}

export function strides(tokens: Int32Array, context: number, stride: number): Window[] {
  const count = Math.floor((tokens.length - context) / stride) + 1;
  const overlap = Math.max(0, context - stride);
  return Array.from({ length: count }, (_, k) => {
    const ids = tokens.subarray(k * stride, k * stride + context);
    // The tokens of the overlap were scored by the windows before; the first token of all has no context.
    return { ids, from: k === 0 ? 0 : Math.max(0, overlap - 1), to: context - 1 };
  });
}

/** A chunk of fewer tokens holds no scored position. */
const smallestContext: Record<Protocol, number> = { 'llama.cpp': 3, strided: 2 };

function check(
  spec: ModelSpec,
  { protocol, context, stride, batch, logitBytes }: WindowOptions & { protocol: Protocol; context: number },
): void {
  const smallest = smallestContext[protocol];
  if (smallest === undefined) {
    throw new RecipeError({
      what: 'unknown protocol',
      value: protocol,
      next: `use ${Object.keys(smallestContext).join(' or ')}`,
    });
  }
  if (!Number.isInteger(context) || context < smallest) {
    throw new RecipeError({
      what: `a context of the protocol ${protocol} is a whole number of at least ${smallest}`,
      value: context,
    });
  }
  // Dynamic scaling stretches the rotary embedding with the text: such a model has no fixed limit.
  if (context > spec.context && spec.rope.scaling.kind !== 'dynamic') {
    throw new RecipeError({ what: 'the context is longer than the model allows', value: context, limit: spec.context });
  }
  if (stride !== undefined && protocol !== 'strided') {
    throw new RecipeError({ what: `the protocol ${protocol} has no stride`, value: stride, next: 'use the protocol strided' });
  }
  if (stride !== undefined && stride > context) {
    throw new RecipeError({ what: 'a stride beyond the context leaves tokens out', value: stride, limit: context });
  }
  for (const [name, value] of Object.entries({ stride, batch, logitBytes })) {
    if (value !== undefined && (!Number.isInteger(value) || value < 1)) {
      throw new RecipeError({ what: `the ${name} is a whole number of at least 1`, value });
    }
  }
}

/** The id that starts a text. */
export function bosOf(tokenizer: Tokenizer): number {
  if (tokenizer.bosId === undefined) throw new ModelError('the tokenizer asks for BOS before a text and names no BOS token');
  return tokenizer.bosId;
}

/** Ids of a text, after `bos` where one is given; each is checked to be a row of the model's embedding. */
export function tokenize(spec: ModelSpec, tokenizer: Tokenizer, text: string, bos?: number): Int32Array {
  const encoded = tokenizer.encode(text);
  const all = bos === undefined ? encoded : new Int32Array(encoded.length + 1);
  if (bos !== undefined) {
    all[0] = bos;
    all.set(encoded, 1);
  }
  const bad = all.findIndex((id) => id < 0 || id >= spec.vocab);
  if (bad >= 0) {
    throw new ModelError({
      what: `token ${bad} of the text is not in the model's vocabulary`,
      value: all[bad],
      limit: spec.vocab - 1,
      next: 'the tokenizer belongs to another model',
    });
  }
  return all;
}

function inBatches(windows: readonly Window[], batch: number, context: number): Batch[] {
  return Array.from({ length: Math.ceil(windows.length / batch) }, (_, b) => {
    const part = windows.slice(b * batch, (b + 1) * batch);
    const ids = new Int32Array(part.length * context);
    for (const [i, window] of part.entries()) ids.set(window.ids, i * context);
    return { ids, windows: part };
  });
}
