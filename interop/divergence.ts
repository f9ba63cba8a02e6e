/** How far next-token probabilities are from those of another file, all computed by llama.cpp. */
import type { ContextOptions, LlamaModel, Sequences } from './llama.ts';

export interface Divergence {
  /** KL(reference || model), mean over scored tokens, nats. */
  kl: number;
  perplexity: number;
}

export interface Divergences {
  /** Scored tokens. */
  tokens: number;
  referencePerplexity: number;
  /** In the order of the models. */
  models: Divergence[];
}

/**
 * Windows of `size` tokens without BOS, one after another; tokens 2 .. size of each are scored: `--protocol strided` of fewbits
 * compare. Only whole windows count.
 */
export function divergence(
  reference: LlamaModel,
  models: readonly LlamaModel[],
  text: string,
  size: number,
  options: ContextOptions = {},
): Divergences {
  const tokens = reference.tokenize(text, { special: false });
  const windows = Math.floor(tokens.length / size);
  if (windows === 0) throw new Error(`the text has ${tokens.length} tokens, one window needs ${size}`);
  const sums = models.map(() => ({ kl: 0, nll: 0 }));
  let referenceNll = 0;
  const opened: Sequences[] = [];
  try {
    for (const model of [reference, ...models]) opened.push(model.sequences(size, options));
    const [truth, ...others] = opened as [Sequences, ...Sequences[]];
    for (let window = 0; window < windows; window++) {
      const ids = tokens.subarray(window * size, (window + 1) * size);
      const expected = probabilities(truth.logits(ids), reference.vocabSize, ids);
      for (const { entropy, nll } of expected) {
        referenceNll += nll;
        for (const sum of sums) sum.kl -= entropy;
      }
      for (const [i, other] of others.entries()) add(sums[i]!, expected, other.logits(ids), ids);
    }
  } finally {
    for (const one of opened) one.close();
  }
  const count = windows * (size - 1);
  return {
    tokens: count,
    referencePerplexity: Math.exp(referenceNll / count),
    models: sums.map(({ kl, nll }) => ({ kl: kl / count, perplexity: Math.exp(nll / count) })),
  };
}

/** What the reference says of one position. */
interface Expected {
  /** [vocabulary] */
  p: Float64Array;
  /** -Σ p log p */
  entropy: number;
  /** Of the token that follows. */
  nll: number;
}

function probabilities(logits: Float32Array, vocabSize: number, ids: Int32Array): Expected[] {
  return Array.from({ length: ids.length - 1 }, (_, at) => {
    const row = rowOf(logits, at, vocabSize);
    const normal = logSumExp(row);
    const p = Float64Array.from(row, (x) => Math.exp(x - normal));
    const mean = p.reduce((sum, share, i) => sum + share * row[i]!, 0);
    return { p, entropy: normal - mean, nll: normal - row[ids[at + 1]!]! };
  });
}

/** Cross entropy into `kl`, and the loss of the text. */
function add(sum: { kl: number; nll: number }, expected: readonly Expected[], logits: Float32Array, ids: Int32Array): void {
  for (const [at, { p }] of expected.entries()) {
    const row = rowOf(logits, at, p.length);
    const normal = logSumExp(row);
    let mean = 0;
    for (let i = 0; i < p.length; i++) mean += p[i]! * row[i]!;
    sum.kl += normal - mean;
    sum.nll += normal - row[ids[at + 1]!]!;
  }
}

function rowOf(logits: Float32Array, at: number, width: number): Float32Array {
  return logits.subarray(at * width, (at + 1) * width);
}

export function logSumExp(row: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (const x of row) if (x > max) max = x;
  let sum = 0;
  for (const x of row) sum += Math.exp(x - max);
  return max + Math.log(sum);
}
