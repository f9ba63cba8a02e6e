/** Values that a tile keeps at 16 bits, and the rest without them: whole columns (static LLM.int8) or single values (SqueezeLLM). */
import { RecipeError } from '../../errors.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { checkFinite } from '../check.ts';
import type { TilePlace } from '../quantize-matrix.ts';
import { type StoredFloat, storedValue } from '../stored-value.ts';

export interface Apart {
  /** Ascending columns. */
  columns?: Int32Array;
  /** Ascending places in the tile's rows, row * cols + column. */
  sparse?: Int32Array;
}

export interface ApartOptions {
  /** How kept values are stored (f16). */
  stored?: StoredFloat;
  /**
   * What stands in their places while the rest is quantized: the mean of the rest of `run` values that share a scale, so that no
   * limit moves, or 0, as SqueezeLLM has it.
   */
  fill: { run: number } | 'zero';
}

/**
 * Quantizes a tile without the values kept apart, and joins both.
 * @param x [to - from, cols]
 * @param quantize from [to - from, cols] to a tile of the same place, by any method
 * @throws NumericError for NaN, Inf or values that overflow their dtype, RecipeError for places outside the tile
 */
export function quantizeApart(
  x: Float32Array,
  place: TilePlace,
  apart: Apart,
  options: ApartOptions,
  quantize: (rest: Float32Array) => QuantizedTile,
): QuantizedTile {
  const { name, from, shape } = place;
  const cols = shape[1];
  const stored = options.stored ?? 'f16';
  checkFinite(x, name, from, cols);
  const isApart = maskOf(x.length, cols, apart, name);
  const tile = quantize(withoutApart(x, isApart, options.fill));
  const kept = (at: number): number => storedValue(stored, x[at]!, 'a value kept apart', name);
  const { columns, sparse } = apart;
  const rows = x.length / cols;
  return {
    ...tile,
    ...(columns && {
      columns: {
        index: columns,
        value: Float32Array.from({ length: rows * columns.length }, (_, i) =>
          kept(Math.floor(i / columns.length) * cols + columns[i % columns.length]!),
        ),
        stored,
      },
    }),
    ...(sparse && {
      sparse: {
        row: sparse.map((at) => Math.floor(at / cols)),
        col: sparse.map((at) => at % cols),
        value: Float32Array.from(sparse, kept),
        stored,
      },
    }),
  };
}

function maskOf(values: number, cols: number, { columns, sparse }: Apart, name: string): Uint8Array {
  const mask = new Uint8Array(values);
  const refuse = (value: number, limit: number) =>
    new RecipeError({ what: 'a value kept apart lies outside the tile', where: name, value, limit });
  for (const at of sparse ?? []) {
    if (at < 0 || at >= values) throw refuse(at, values);
    mask[at] = 1;
  }
  for (const column of columns ?? []) {
    if (column < 0 || column >= cols) throw refuse(column, cols);
    for (let at = column; at < values; at += cols) mask[at] = 1;
  }
  return mask;
}

function withoutApart(x: Float32Array, isApart: Uint8Array, fill: ApartOptions['fill']): Float32Array {
  const rest = x.slice();
  const run = fill === 'zero' ? x.length : fill.run;
  for (let from = 0; from < x.length; from += run) {
    const to = Math.min(from + run, x.length);
    let sum = 0;
    let count = 0;
    for (let i = from; i < to; i++) {
      if (isApart[i]) continue;
      sum += x[i]!;
      count++;
    }
    const value = fill === 'zero' || count === 0 ? 0 : sum / count;
    for (let i = from; i < to; i++) if (isApart[i]) rest[i] = value;
  }
  return rest;
}
