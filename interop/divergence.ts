/** How far a file's next-token probabilities are from another's, both computed by llama.cpp. */
import type { ContextOptions, LlamaModel } from './llama.ts';

export interface Divergence {
  /** KL(reference || model), mean over scored tokens, nats. */
  kl: number;
  perplexity: number;
  referencePerplexity: number;
  tokens: number;
}

/**
 * Windows of `size` tokens without BOS, one after another; tokens 2 .. size of each are scored: `--protocol strided` of fewbits
 * compare. Only whole windows count.
 */
export function divergence(
  reference: LlamaModel,
  model: LlamaModel,
  text: string,
  size: number,
  options: ContextOptions = {},
): Divergence {
  const tokens = reference.tokenize(text, { special: false });
  const windows = Math.floor(tokens.length / size);
  if (windows === 0) throw new Error(`the text has ${tokens.length} tokens, one window needs ${size}`);
  const sums = { kl: 0, nll: 0, referenceNll: 0, count: 0 };
  for (let window = 0; window < windows; window++) {
    const ids = tokens.subarray(window * size, (window + 1) * size);
    const [expected, found] = [reference.logits(ids, options), model.logits(ids, options)];
    for (let at = 0; at + 1 < size; at++) add(sums, row(expected, at, reference), row(found, at, model), ids[at + 1]!);
  }
  const mean = (sum: number): number => sum / sums.count;
  return {
    kl: mean(sums.kl),
    perplexity: Math.exp(mean(sums.nll)),
    referencePerplexity: Math.exp(mean(sums.referenceNll)),
    tokens: sums.count,
  };
}

function row(logits: Float32Array, at: number, { vocabSize }: LlamaModel): Float32Array {
  return logits.subarray(at * vocabSize, (at + 1) * vocabSize);
}

function add(
  sums: { kl: number; nll: number; referenceNll: number; count: number },
  expected: Float32Array,
  found: Float32Array,
  target: number,
): void {
  const [normalP, normalQ] = [logSumExp(expected), logSumExp(found)];
  for (let i = 0; i < expected.length; i++) {
    const logP = expected[i]! - normalP;
    sums.kl += Math.exp(logP) * (logP - (found[i]! - normalQ));
  }
  sums.referenceNll += normalP - expected[target]!;
  sums.nll += normalQ - found[target]!;
  sums.count++;
}

export function logSumExp(row: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (const x of row) if (x > max) max = x;
  let sum = 0;
  for (const x of row) sum += Math.exp(x - max);
  return max + Math.log(sum);
}
