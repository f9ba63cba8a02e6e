/**
 * Models against a reference on the same text: how far the distribution of the next token moves. Logits stream: those of the
 * reference are computed once a batch, compared with each model's, and dropped; what stays is one KL value a position and model.
 */
import { ModelError, RecipeError } from '../errors.ts';
import type { LanguageModel } from '../graph/types.ts';
import { loadKernels } from '../kernels/kernels.ts';
import type { Tokenizer } from '../tokenizer/types.ts';
import { type PairScore, PairScorer } from './divergence.ts';
import { columns, type Forward, openForward, pieceLength } from './forward.ts';
import { type EvaluateOptions, type Perplexity, perplexityOf } from './perplexity.ts';
import { quantile, RunningMean } from './statistics.ts';
import { type Batch, readText, type Window } from './windows.ts';

export interface ModelComparison extends Perplexity {
  /** perplexity / reference perplexity, and its standard error from the paired differences of the losses (llama.cpp's). */
  perplexityRatio: number;
  perplexityRatioError: number;
  /** KL(reference || model) over the scored positions, nats. Quantiles are linear between neighbours; error is the mean's. */
  kl: { mean: number; error: number; median: number; p90: number; p99: number; max: number };
  /** Share of positions where both put the same token first, and its standard error. */
  sameTop: number;
  sameTopError: number;
}

export interface Comparison {
  reference: Perplexity;
  /** In the order of the models given. */
  models: ModelComparison[];
  seconds: number;
}

/** One comparison a text, and one of all their positions together. */
export interface TextsComparison extends Comparison {
  /** In the order of the texts. */
  texts: Omit<Comparison, 'seconds'>[];
}

/**
 * @throws ModelError when a model's vocabulary has another size than the reference's
 * @throws RecipeError when the options do not fit the models or the text is shorter than one window
 * @throws NumericError when a model computes NaN or Inf
 */
export async function compare(
  reference: LanguageModel,
  models: readonly LanguageModel[],
  tokenizer: Tokenizer,
  text: string,
  options: EvaluateOptions = {},
): Promise<Comparison> {
  const { texts: _, ...all } = await compareTexts(reference, models, tokenizer, [text], options);
  return all;
}

/** As `compare`, on several kinds of text; windows do not reach from one into the next. */
export async function compareTexts(
  reference: LanguageModel,
  models: readonly LanguageModel[],
  tokenizer: Tokenizer,
  texts: readonly string[],
  options: EvaluateOptions = {},
): Promise<TextsComparison> {
  if (options.kv) {
    const { kv, ...others } = options;
    const cached = models.map((model) => model.withCache(kv));
    try {
      return await compareTexts(reference, cached, tokenizer, texts, others);
    } finally {
      for (const model of cached) await model.close();
    }
  }
  const start = performance.now();
  if (models.length === 0) throw new RecipeError('there is no model to compare with the reference');
  const vocab = reference.spec.vocab;
  for (const [i, { spec }] of models.entries()) {
    if (spec.vocab !== vocab) {
      throw new ModelError({
        what: `model ${i + 1} has a vocabulary of ${spec.vocab} tokens, the reference one of ${vocab}`,
        next: 'KL divergence needs models that share one vocabulary',
      });
    }
  }
  const shortest = Math.min(...[reference, ...models].map(({ spec }) => spec.context));
  const readings = texts.map((text) => readText({ ...reference.spec, context: shortest }, tokenizer, text, options));
  const total = readings.reduce((sum, { tokens }) => sum + tokens, 0);
  const scorer = new PairScorer(await loadKernels(), vocab);
  const all = models.map(() => new Tally(total));
  const results: TextsComparison['texts'] = [];
  for (const { context, batches, tokens } of readings) {
    const own = models.map(() => new Tally(tokens));
    const both = own.map((tally, i) => ({
      add: (score: PairScore) => {
        tally.add(score);
        all[i]!.add(score);
      },
    }));
    for (const batch of batches) {
      await compareBatch([reference, ...models], batch, context, scorer, both, options);
      options.onProgress?.({ done: all[0]!.nll.count, total });
    }
    results.push(comparisonOf(own));
  }
  return { ...comparisonOf(all), texts: results, seconds: (performance.now() - start) / 1000 };
}

function comparisonOf(tallies: readonly Tally[]): Omit<Comparison, 'seconds'> {
  return { reference: perplexityOf(tallies[0]!.referenceNll), models: tallies.map((tally) => tally.result()) };
}

/** Sums over the scored positions of one model. */
class Tally {
  readonly referenceNll = new RunningMean();
  readonly nll = new RunningMean();
  /** Loss of the model minus loss of the reference. */
  readonly difference = new RunningMean();
  readonly sameTop = new RunningMean();
  readonly meanKl = new RunningMean();
  readonly kl: Float64Array; // [tokens]

  constructor(tokens: number) {
    this.kl = new Float64Array(tokens);
  }

  add(score: PairScore): void {
    this.kl[this.nll.count] = score.kl;
    this.meanKl.add(score.kl);
    this.referenceNll.add(score.referenceNll);
    this.nll.add(score.nll);
    this.difference.add(score.nll - score.referenceNll);
    this.sameTop.add(score.sameTop ? 1 : 0);
  }

  result(): ModelComparison {
    const sorted = this.kl.slice().sort();
    const ratio = Math.exp(this.difference.mean);
    return {
      ...perplexityOf(this.nll),
      perplexityRatio: ratio,
      perplexityRatioError: ratio * this.difference.standardError,
      kl: {
        mean: this.meanKl.mean,
        error: this.meanKl.standardError,
        median: quantile(sorted, 0.5),
        p90: quantile(sorted, 0.9),
        p99: quantile(sorted, 0.99),
        max: quantile(sorted, 1),
      },
      sameTop: this.sameTop.mean,
      sameTopError: this.sameTop.standardError,
    };
  }
}

/** What takes the scores of one model. */
type Scores = Pick<Tally, 'add'>;

/** models: the reference, then those compared with it. */
async function compareBatch(
  models: readonly LanguageModel[],
  { ids, windows }: Batch,
  context: number,
  scorer: PairScorer,
  tallies: readonly Scores[],
  { signal, logitBytes }: EvaluateOptions,
): Promise<void> {
  const { vocab, rope } = models[0]!.spec;
  // Under dynamic scaling a token's rotation depends on the length of the whole pass.
  const piece = rope.scaling.kind === 'dynamic' ? context : pieceLength(windows.length, context, vocab, logitBytes);
  const forwards: Forward[] = [];
  try {
    for (const model of models) forwards.push(await openForward(model, windows.length, context, piece));
    for (let at = 0; at < context; at += piece) {
      const length = Math.min(piece, context - at);
      const part = columns(ids, context, at, at + length);
      const [reference, ...others] = forwards;
      signal?.throwIfAborted();
      const expected = await reference!.step(part);
      for (const [m, other] of others.entries()) {
        signal?.throwIfAborted();
        scorePiece(scorer, tallies[m]!, windows, { at, length, vocab }, expected, await other.step(part));
      }
    }
  } finally {
    for (const forward of forwards) await forward.close();
  }
}

/** Positions [at, at + length) of all windows; expected, logits: [windows.length, length, vocab]. */
function scorePiece(
  scorer: PairScorer,
  tally: Scores,
  windows: readonly Window[],
  { at, length, vocab }: { at: number; length: number; vocab: number },
  expected: Float32Array,
  logits: Float32Array,
): void {
  for (const [b, window] of windows.entries()) {
    const from = Math.max(window.from, at);
    const to = Math.max(from, Math.min(window.to, at + length));
    const start = b * length - at;
    const rows = (all: Float32Array) => all.subarray((start + from) * vocab, (start + to) * vocab);
    scorer.score(rows(expected), rows(logits), window.ids.subarray(from + 1, to + 1), (score) => tally.add(score));
  }
}
