/**
 * A model some of whose weights are exchanged while it runs: what a scheme costs is measured without writing a file. The graph reads its
 * weights at each run, so that values put into the same arrays are seen by the next one.
 */
import { PairScorer } from '../../evaluate/divergence.ts';
import { RunningMean } from '../../evaluate/statistics.ts';
import type { Model } from '../../format/types.ts';
import { type LanguageModel, loadLanguageModel } from '../../graph/index.ts';
import { type Kernels, loadKernels } from '../../kernels/kernels.ts';
import { runnableSpec } from '../language.ts';
import { weightReader } from '../weights.ts';

export interface Divergence {
  /** Mean KL(original || changed), nats, and its standard error. */
  kl: number;
  error: number;
  /** Share of positions where both put the same token first. */
  sameTop: number;
  tokens: number;
}

/** Of the original's logits for a batch of windows: they are computed once for all changes. */
const LOGIT_BYTES = 128e6;

export class Trial {
  readonly #language: LanguageModel;
  readonly #weights: Map<string, Float32Array>;
  readonly #kernels: Kernels;

  private constructor(language: LanguageModel, weights: Map<string, Float32Array>, kernels: Kernels) {
    this.#language = language;
    this.#weights = weights;
    this.#kernels = kernels;
  }

  /** @throws ModelError for a model that cannot be run */
  static async open(model: Model, options: { threads?: number } = {}): Promise<Trial> {
    const reader = weightReader(model);
    const weights = new Map<string, Float32Array>();
    const remembering = async (name: string) => {
      const data = await reader(name);
      weights.set(name, data);
      return data;
    };
    const closing = Object.assign(remembering, { close: async () => reader.close?.() });
    return new Trial(await loadLanguageModel(runnableSpec(model), closing, options), weights, await loadKernels());
  }

  /**
   * Each change alone against the original. ids: [windows, context]; every position but the last of a window is scored.
   */
  async divergences(
    ids: Int32Array,
    context: number,
    changes: readonly Change[],
    options: { signal?: AbortSignal | undefined; onChange?: (done: number, total: number) => void } = {},
  ): Promise<Divergence[]> {
    const { vocab } = this.#language.spec;
    const windows = ids.length / context;
    const batch = Math.max(1, Math.min(windows, Math.floor(LOGIT_BYTES / (4 * context * vocab))));
    const tallies = changes.map(() => ({ kl: new RunningMean(), same: new RunningMean() }));
    const batches = Math.ceil(windows / batch);
    for (let b = 0; b < batches; b++) {
      const part = ids.subarray(b * batch * context, Math.min(windows, (b + 1) * batch) * context);
      const expected = await this.#language.logits(part, part.length / context, context);
      for (const [i, change] of changes.entries()) {
        options.signal?.throwIfAborted();
        const { kl, same } = tallies[i]!;
        await this.#changed(change, async () => {
          this.#score(part, context, expected, await this.#language.logits(part, part.length / context, context), (score) => {
            kl.add(score.kl);
            same.add(score.sameTop ? 1 : 0);
          });
        });
        options.onChange?.(b * changes.length + i + 1, batches * changes.length);
      }
    }
    return tallies.map(({ kl, same }) => ({ kl: kl.mean, error: kl.standardError, sameTop: same.mean, tokens: kl.count }));
  }

  async close(): Promise<void> {
    await this.#language.close();
  }

  #score(
    ids: Int32Array,
    context: number,
    expected: Float32Array,
    logits: Float32Array,
    each: Parameters<PairScorer['score']>[3],
  ): void {
    const { vocab } = this.#language.spec;
    const mark = this.#kernels.mark();
    try {
      const scorer = new PairScorer(this.#kernels, vocab);
      for (let at = 0; at < ids.length; at += context) {
        const rows = (all: Float32Array) => all.subarray(at * vocab, (at + context - 1) * vocab);
        scorer.score(rows(expected), rows(logits), ids.subarray(at + 1, at + context), each);
      }
    } finally {
      this.#kernels.reset(mark);
    }
  }

  async #changed(change: Change, work: () => Promise<void>): Promise<void> {
    const before = new Map<Float32Array, Float32Array>();
    try {
      for (const [name, make] of change) {
        const weight = this.#weights.get(name);
        if (!weight) continue;
        before.set(weight, weight.slice());
        weight.set(make(weight));
      }
      await work();
    } finally {
      for (const [weight, values] of before) weight.set(values);
    }
  }
}

/** New values of weights by canonical name, made from their values, [rows, cols], once for each batch of windows. */
export type Change = ReadonlyMap<string, (weight: Float32Array) => Float32Array>;
