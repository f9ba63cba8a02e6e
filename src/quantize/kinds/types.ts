/**
 * A kind of grid: how it lies in fields, what it has to know, how rows become codes. A new kind is a file of this folder and a row of
 * registry.ts.
 */
import type { TileForm } from '../../quantized/form.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import type { TilePlace } from '../quantize-matrix.ts';
import type { Limits } from '../range/types.ts';
import type { WeightScheme } from '../scheme.ts';
import type { StatisticKind, Statistics } from '../statistics.ts';

/** What is known of the input of the matrix. */
export type InputStatistics = Partial<Pick<Statistics, 'meansquare' | 'hessian' | 'absmax'>>;

/** What all rows of a matrix agree on before the first is encoded; plain arrays, so that it travels to workers. */
export interface Survey {
  /** Of the whole tensor. */
  limits?: Limits;
  /** [cols] */
  columnScale?: Float32Array;
  /** Columns of the values that are kept apart, row after row: those of the whole matrix. */
  sparse?: Int32Array;
  /** [entries, dim] */
  book?: Float32Array;
  /** a [rows, rank], b [rank, cols] */
  lowRank?: { a: Float32Array; b: Float32Array };
}

export interface Kind<S extends WeightScheme = WeightScheme> {
  /** Statistics of the input that it cannot do without. */
  needs(scheme: S): readonly StatisticKind[];
  /** How the result lies in fields, without what the split adds. */
  form(scheme: S): TileForm;
  /** Consecutive columns that share something: they divide the row. */
  run(scheme: S): number;
  /** What has to be seen before the first row is encoded: limits that are merged over tiles, or all rows at once. */
  surveys(scheme: S): 'limits' | 'matrix' | undefined;
  /** x: [rows of the place, cols] */
  survey(x: Float32Array, place: TilePlace, scheme: S, inputs: InputStatistics): Survey;
  /** x: [to - from, cols] */
  quantize(x: Float32Array, place: TilePlace, scheme: S, inputs: InputStatistics, survey: Survey): QuantizedTile;
  /** Steps by which a value inside the range of its codes may move; undefined where codes are not the nearest ones. */
  stepLimit(scheme: S): number | undefined;
}
