/**
 * The quantized cache of transformers (cache_utils.py, QuantizedLayer with the quanto backend): the first tokens are returned as
 * they came and stored quantized; later ones wait until `residual` are together, and then the whole cache is decoded and quantized
 * again, old errors included. Groups of tokens run over the flattened batch, heads and positions, and may cross heads.
 */
import { RecipeError } from '../../errors.ts';
import type { KvSide } from '../../quantized/types.ts';
import { dequantizeGroups, type KvGroups, quantizeGroups } from './groups.ts';

export class RequantizedCache {
  readonly #heads: number;
  readonly #headDim: number;
  readonly #side: KvSide;
  readonly #residual: number;
  #stored: KvGroups | undefined;
  /** Tokens that wait, [heads, waiting, headDim]. */
  #waiting: Float32Array = new Float32Array(0);

  /** @param heads batch times heads. `side` of per token is quanto's axis 0, per channel its axis -1. */
  constructor(heads: number, headDim: number, side: KvSide, residual: number) {
    this.#heads = heads;
    this.#headDim = headDim;
    this.#side = side;
    this.#residual = residual;
  }

  /** new tokens [heads, n, headDim] -> what attention reads, [heads, all, headDim]. */
  update(fresh: Float32Array): Float32Array {
    if (!this.#stored) {
      this.#store(fresh);
      return fresh;
    }
    const waiting = this.#joined(this.#waiting, fresh);
    const all = this.#joined(this.quantizedPart(), waiting);
    const before = this.#waiting.length / (this.#heads * this.#headDim);
    if (before > 0 && before + 1 >= this.#residual) {
      this.#store(all);
      this.#waiting = new Float32Array(0);
    } else this.#waiting = waiting;
    return all;
  }

  /** The quantized store, decoded, [heads, stored, headDim]. */
  quantizedPart(): Float32Array {
    return this.#stored ? dequantizeGroups(this.#stored, this.#headDim, this.#side) : new Float32Array(0);
  }

  #store(x: Float32Array): void {
    const { per, group } = this.#side;
    const run = per === 'channel' ? x.length / this.#headDim : x.length;
    if (run % group !== 0) {
      throw new RecipeError({ what: 'groups of a cache that is quantized as a whole do not fill it', value: run, limit: group });
    }
    this.#stored = quantizeGroups(x, this.#headDim, this.#side, { stored: 'f32' });
  }

  /** [heads, a, headDim] and [heads, b, headDim] -> [heads, a + b, headDim]. */
  #joined(a: Float32Array, b: Float32Array): Float32Array {
    const [m, n] = [a.length / this.#heads, b.length / this.#heads];
    const out = new Float32Array(a.length + b.length);
    for (let h = 0; h < this.#heads; h++) {
      out.set(a.subarray(h * m, (h + 1) * m), h * (m + n));
      out.set(b.subarray(h * n, (h + 1) * n), h * (m + n) + m);
    }
    return out;
  }
}
