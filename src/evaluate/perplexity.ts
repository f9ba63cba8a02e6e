/** Perplexity of one model on a text: exp of the mean negative log-likelihood of the scored tokens. */
import { NumericError } from '../errors.ts';
import type { LanguageModel } from '../graph/types.ts';
import type { KvScheme } from '../quantized/types.ts';
import type { Tokenizer } from '../tokenizer/types.ts';
import { RunningMean } from './statistics.ts';
import { readText, type WindowOptions } from './windows.ts';

export interface EvaluateOptions extends WindowOptions {
  /** How keys and values are stored: each position sees what a quantized cache would hold for it. Of a comparison: by the models. */
  kv?: KvScheme;
  /** Called after each batch: scored tokens so far and in all. */
  onProgress?: (progress: { done: number; total: number }) => void;
  signal?: AbortSignal;
}

export interface Perplexity {
  /** e^nll. */
  perplexity: number;
  /** Mean negative log-likelihood, nats a token. */
  nll: number;
  /** Of nll, in nats; llama.cpp's "+/-" is this times the perplexity. Tokens are taken as independent. */
  standardError: number;
  /** Scored tokens. */
  tokens: number;
}

/**
 * @throws RecipeError when the options or the KV cache do not fit the model or the text is shorter than one window
 * @throws NumericError when the model computes NaN or Inf
 */
export async function evaluate(
  model: LanguageModel,
  tokenizer: Tokenizer,
  text: string,
  options: EvaluateOptions = {},
): Promise<Perplexity & { seconds: number }> {
  if (options.kv) {
    const { kv, ...others } = options;
    const cached = model.withCache(kv);
    try {
      return await evaluate(cached, tokenizer, text, others);
    } finally {
      await cached.close();
    }
  }
  const start = performance.now();
  const { context, batches, tokens: total } = readText(model.spec, tokenizer, text, options);
  const nll = new RunningMean();
  for (const { ids, windows } of batches) {
    options.signal?.throwIfAborted();
    const losses = await model.losses(ids, windows.length, context);
    for (const [b, { from, to }] of windows.entries()) {
      const row = losses.subarray(b * (context - 1), (b + 1) * (context - 1));
      for (const loss of row.subarray(from, to)) nll.add(loss);
    }
    if (!Number.isFinite(nll.sum)) throw new NumericError('the model computes losses that are not finite');
    options.onProgress?.({ done: nll.count, total });
  }
  return { ...perplexityOf(nll), seconds: (performance.now() - start) / 1000 };
}

/** nll: the losses of all scored tokens. */
export function perplexityOf(nll: RunningMean): Perplexity {
  return { perplexity: Math.exp(nll.mean), nll: nll.mean, standardError: nll.standardError, tokens: nll.count };
}
