/**
 * A range finder answers: which interval of one sharing group do the codes cover, and which scale follows. It sees the
 * values in the compute dtype and rounds each operation to it.
 */
import type { Arithmetic } from '../../quantized/types.ts';
import type { IntegerGrid } from '../grid/integer.ts';
import type { MatrixScheme, RangeOptions } from '../scheme.ts';
import type { StatisticKind } from '../statistics.ts';

/** The smallest and the largest value of a sharing group, or the interval that is left after clipping. */
export interface Limits {
  min: number;
  max: number;
}

/** Statistics of the inputs that the columns of a weight meet, for the ranges that need some (`rangeInputs` makes it). */
export interface RangeInputs {
  /** E[input²], [cols]. */
  meansquare?: Float32Array;
  /** E[input input'], its blocks on the diagonal [cols / size, size, size]; `size` divides the values that share a scale. */
  blocks?: { size: number; values: Float32Array };
}

/** What is fixed for a whole tensor. */
export interface RangeContext {
  readonly grid: IntegerGrid;
  readonly symmetric: boolean;
  /** Of asymmetric schemes. */
  readonly zero: 'integer' | 'float' | 'minimum';
  readonly arithmetic: Required<Arithmetic>;
  readonly options: RangeOptions;
  readonly inputs?: RangeInputs;
  readonly emptyGroup: NonNullable<MatrixScheme['emptyGroup']>;
  /** Rounds to the compute dtype. */
  round(x: number): number;
  /** Rounds to the dtype in which scales are stored. */
  cast(x: number): number;
  /** Of the compute dtype. */
  readonly epsilon: number;
}

export interface Range {
  readonly name: MatrixScheme['range'];
  readonly schemes: 'symmetric' | 'asymmetric' | 'both';
  /** The parameters that it reads. */
  readonly options: readonly (keyof RangeOptions)[];
  /** Statistics without which `limits` throws a RecipeError. */
  readonly needs?: readonly StatisticKind[];
  /** The formula, for people: plans, reports and the lab print it. */
  describe(context: RangeContext): string;
  /** Limits of values[from, to), which are part of one row or whole rows: value i is in column i modulo cols. */
  limits(values: Float32Array, from: number, to: number, context: RangeContext): Limits;
  /** The scale that follows; 0 when the limits are. Negative only for `signed-extreme`. */
  scale(limits: Limits, context: RangeContext): number;
}
