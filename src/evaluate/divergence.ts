/** Two models' logits at the same positions, compared row by row by the WebAssembly kernels softmax_rows and kl_rows. */
import { NumericError } from '../errors.ts';
import type { Kernels } from '../kernels/kernels.ts';

/** What one position says. */
export interface PairScore {
  /** -ln p(target) by the reference and by the model, nats. */
  referenceNll: number;
  nll: number;
  /** KL(reference || model), nats. */
  kl: number;
  /** Both put the same token first (the lowest id among equals). */
  sameTop: boolean;
}

/** Logits and exps of two tiles together stay near 1 MiB, so that the second pass finds them in cache. */
const tileValues = 1 << 16;
/** Logits beside the vocabulary weigh nothing in any sum. */
const nothing = -3.4028234663852886e38;
/** Per row: max, sum of exps, index of the maximum. */
const statistics = 3;

interface Side {
  /** [rows, stride] f32 */
  logits: number;
  exps: number;
  /** [rows, 3] f64 */
  stats: number;
}

export class PairScorer {
  readonly #kernels: Kernels;
  readonly #vocab: number;
  readonly #stride: number;
  readonly #rows: number;
  readonly #reference: Side;
  readonly #model: Side;
  readonly #shift: number;
  readonly #kl: number;

  /** The scorer takes its tiles from the kernels' arena and keeps them until the arena is reset. */
  constructor(kernels: Kernels, vocab: number) {
    this.#kernels = kernels;
    this.#vocab = vocab;
    this.#stride = (vocab + 15) & ~15;
    this.#rows = Math.max(1, Math.floor(tileValues / this.#stride));
    const side = (): Side => ({
      logits: kernels.alloc(this.#rows * this.#stride * 4),
      exps: kernels.alloc(this.#rows * this.#stride * 4),
      stats: kernels.alloc(this.#rows * statistics * 8),
    });
    this.#reference = side();
    this.#model = side();
    this.#shift = kernels.alloc(this.#rows * 8);
    this.#kl = kernels.alloc(this.#rows * 8);
  }

  /**
   * reference, model: [rows, vocab] logits; targets: [rows], the tokens that follow. Calls `each` in row order.
   * @throws NumericError where logits are not finite
   */
  score(reference: Float32Array, model: Float32Array, targets: Int32Array, each: (score: PairScore) => void): void {
    for (let row = 0; row < targets.length; row += this.#rows) {
      const end = Math.min(row + this.#rows, targets.length);
      const tile = (all: Float32Array) => all.subarray(row * this.#vocab, end * this.#vocab);
      this.#scoreTile(tile(reference), tile(model), targets.subarray(row, end), each);
    }
  }

  #scoreTile(reference: Float32Array, model: Float32Array, targets: Int32Array, each: (score: PairScore) => void): void {
    const rows = targets.length;
    const x = this.#softmax(this.#reference, reference, rows);
    const y = this.#softmax(this.#model, model, rows);
    const shift = this.#kernels.f64(this.#shift, rows);
    for (let r = 0; r < rows; r++) shift[r] = logSumExp(x, r) - logSumExp(y, r);
    const [a, b] = [this.#reference, this.#model];
    this.#kernels.call(
      'kl_rows',
      ...[a.logits, a.exps, a.stats, b.logits, b.exps, b.stats],
      ...[this.#shift, this.#kl, rows, this.#vocab],
    );
    const kl = this.#kernels.f64(this.#kl, rows);
    for (let r = 0; r < rows; r++) {
      const target = r * this.#vocab + targets[r]!;
      const score = {
        referenceNll: logSumExp(x, r) - reference[target]!,
        nll: logSumExp(y, r) - model[target]!,
        kl: kl[r]!,
        sameTop: x[r * statistics + 2] === y[r * statistics + 2],
      };
      if (!Number.isFinite(score.referenceNll + score.nll + score.kl)) throw notFinite(score);
      each(score);
    }
  }

  /** Copies logits [rows, vocab] to their tile; returns stats [rows, 3]. */
  #softmax(side: Side, logits: Float32Array, rows: number): Float64Array {
    const vocab = this.#vocab;
    const stride = this.#stride;
    const padded = this.#kernels.f32(side.logits, rows * stride);
    if (stride === vocab) padded.set(logits);
    else {
      padded.fill(nothing);
      for (let r = 0; r < rows; r++) padded.set(logits.subarray(r * vocab, (r + 1) * vocab), r * stride);
    }
    this.#kernels.call('softmax_rows', side.logits, side.exps, side.stats, rows, vocab);
    return this.#kernels.f64(side.stats, rows * statistics);
  }
}

function logSumExp(stats: Float64Array, row: number): number {
  return stats[row * statistics]! + Math.log(stats[row * statistics + 1]!);
}

function notFinite({ referenceNll, nll, kl }: PairScore): NumericError {
  const whose = Number.isFinite(referenceNll) ? (Number.isFinite(nll) ? 'divergence' : "model's logits") : "reference's logits";
  return new NumericError({
    what: `the ${whose} are not finite`,
    value: { referenceNll: `${referenceNll}`, nll: `${nll}`, kl: `${kl}` },
  });
}
