/** Sums of what the quantized layers before have moved: see `Drift`. */
import { type GraphTensor, gramRows } from '../../graph/index.ts';
import type { InputGroup } from '../../model/index.ts';
import type { Drift } from '../../quantize/rounding/drift.ts';
import { shared } from './shared.ts';
import { index, type SumSessions } from './sums.ts';

export class DriftSums {
  readonly #sessions: SumSessions;
  readonly #width: number;
  readonly #input: Float32Array;
  readonly #residual: Float32Array | undefined;
  #tokens = 0;

  /** @param hidden width of the residual stream */
  constructor(sessions: SumSessions, { width, residual }: InputGroup, hidden: number) {
    this.#sessions = sessions;
    this.#width = width;
    this.#input = shared(width * width);
    if (residual) this.#residual = shared(hidden * width);
  }

  /** x0, x [tokens, width]: what the linear reads; h0, h [tokens, hidden]: the stream its output is added to. */
  async add(x0: GraphTensor, x: GraphTensor, h0?: GraphTensor, h?: GraphTensor): Promise<void> {
    await this.#cross(this.#input, x0, x, x);
    if (this.#residual && h0 && h) await this.#cross(this.#residual, h0, h, x);
    this.#tokens += x.dims[0]!;
  }

  finish(): Drift {
    const mean = (sums: Float32Array) => {
      for (let i = 0; i < sums.length; i++) sums[i]! /= this.#tokens;
      return sums;
    };
    return { input: mean(this.#input), ...(this.#residual && { residual: mean(this.#residual) }) };
  }

  /** sums += (a - b)' x, some rows at a time. */
  async #cross(sums: Float32Array, a: GraphTensor, b: GraphTensor, x: GraphTensor): Promise<void> {
    const session = await this.#sessions.cross();
    const width = this.#width;
    const rows = sums.length / width;
    const step = gramRows(width);
    for (let from = 0; from < rows; from += step) {
      const to = Math.min(from + step, rows);
      const part = sums.subarray(from * width, to * width);
      // The runtime refuses memory that threads share.
      const sum = { type: 'f32', dims: [to - from, width], data: part.slice() } as const;
      const { cross } = await session.run({ a, b, x, from: index(from), to: index(to), sum });
      part.set(cross!.data as Float32Array);
    }
  }
}
