/**
 * Low-rank correction: w - ŵ ≈ a b, as ZeroQuant-V2's LoRC (arXiv 2303.08302) does it, and weighted by what the inputs are like as
 * LQER's L²QER (arXiv 2402.02446) does. The best of its rank by Eckart and Young, in the norm of the weighting.
 */
import { RecipeError } from '../../errors.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { checkFinite } from '../check.ts';
import { dequantizeTile } from '../dequantize.ts';
import { type StoredFloat, storedValue } from '../stored-value.ts';
import { truncatedSvd } from './svd.ts';
import { type InputWeighting, weightingOf } from './weighting.ts';

export interface LowRankOptions {
  rank: number;
  /** What an error in a column counts: alike by default. */
  inputs?: InputWeighting;
  /** How both factors are stored (f16); each carries the square root of the singular values. */
  stored?: StoredFloat;
}

export interface LowRank {
  rank: number;
  /** [rows, rank] */
  a: Float32Array;
  /** [rank, cols] */
  b: Float32Array;
  /** Σ of the weighted squared errors without the correction, and with factors that are not rounded. */
  before: number;
  after: number;
}

/**
 * The correction of a whole matrix.
 * @param residual [rows, cols]: w - ŵ
 * @throws NumericError for NaN, Inf, a Hessian that is not positive definite or factors that overflow, RecipeError for a rank that does not fit
 */
export function lowRankOf(
  residual: Float32Array,
  shape: readonly [rows: number, cols: number],
  { rank, inputs, stored = 'f16' }: LowRankOptions,
  name = 'matrix',
): LowRank {
  const [rows, cols] = shape;
  if (!Number.isInteger(rank) || rank < 1 || rank > Math.min(rows, cols)) {
    throw new RecipeError({ what: 'not a rank of this matrix', where: name, value: rank, limit: `1..${Math.min(rows, cols)}` });
  }
  if (residual.length !== rows * cols) {
    throw new RecipeError({ what: 'the values do not fill the matrix', where: name, value: residual.length, limit: rows * cols });
  }
  checkFinite(residual, name, 0, cols);
  const weighting = weightingOf(inputs, cols, name);
  const weighted = weighting.apply(Float64Array.from(residual), rows);
  const { u, s, v } = truncatedSvd(weighted, rows, cols, rank);
  const right = Float64Array.from({ length: rank * cols }, (_, i) => v[(i % cols) * rank + Math.floor(i / cols)]!); // [rank, cols]
  weighting.undo(right, rank);
  const a = Float32Array.from(u, (value, i) => storedValue(stored, value * Math.sqrt(s[i % rank]!), 'a low-rank factor', name));
  const b = Float32Array.from(right, (value, i) =>
    storedValue(stored, value * Math.sqrt(s[Math.floor(i / cols)]!), 'a low-rank factor', name),
  );
  const before = weighted.reduce((sum, e) => sum + e * e, 0);
  return {
    rank,
    a,
    b,
    before,
    after: Math.max(
      0,
      s.reduce((left, one) => left - one * one, before),
    ),
  };
}

/** The tile with its rows of the correction, which `dequantizeTile` adds. Values kept apart must have been zero in the residual. */
export function withLowRank(tile: QuantizedTile, { rank, a, b }: LowRank): QuantizedTile {
  return { ...tile, lowRank: { a: a.slice(tile.from * rank, tile.to * rank), b } };
}

/** w - ŵ of a tile's rows, 0 in columns that the tile keeps apart. x: [to - from, cols] */
export function residualOf(x: Float32Array, tile: QuantizedTile): Float32Array {
  const decoded = dequantizeTile(tile);
  const residual = x.map((value, at) => value - decoded[at]!);
  const cols = tile.shape[1];
  for (const column of tile.columns?.index ?? []) for (let at = column; at < residual.length; at += cols) residual[at] = 0;
  return residual;
}

/**
 * Quantizes a whole matrix with a correction. More than one round quantizes w - a b anew and corrects what is left, as LoftQ (arXiv
 * 2310.08659) does; the best round is kept.
 * @param w [rows, cols]
 * @param quantize from [rows, cols] to a tile of all rows
 */
export function quantizeLowRank(
  w: Float32Array,
  shape: readonly [rows: number, cols: number],
  options: LowRankOptions & { rounds?: number },
  quantize: (x: Float32Array) => QuantizedTile,
  name = 'matrix',
): QuantizedTile {
  const weighting = weightingOf(options.inputs, shape[1], name);
  let best: { tile: QuantizedTile; error: number } | undefined;
  let target = w;
  for (let round = 0; round < Math.max(1, options.rounds ?? 1); round++) {
    const plain = quantize(target);
    const correction = lowRankOf(residualOf(w, plain), shape, options, name);
    const tile = withLowRank(plain, correction);
    const left = weighting.apply(Float64Array.from(residualOf(w, tile)), shape[0]);
    const error = left.reduce((sum, e) => sum + e * e, 0);
    if (!best || error < best.error) best = { tile, error };
    target = without(w, correction, shape[1]);
  }
  return best!.tile;
}

/** w - a b */
function without(w: Float32Array, { a, b, rank }: LowRank, cols: number): Float32Array {
  return w.map((value, at) => {
    let sum = value;
    for (let k = 0; k < rank; k++) sum -= a[Math.floor(at / cols) * rank + k]! * b[k * cols + (at % cols)]!;
    return sum;
  });
}
