/**
 * A range finder answers: which interval of one sharing group do the codes cover, and which scale follows. It sees the
 * values in the compute dtype and rounds each operation to it.
 */
import type { Arithmetic } from '../../quantized/types.ts';
import type { IntegerGrid } from '../grid/integer.ts';
import type { ContainerRange, MatrixScheme, RangeName, RangeOptions } from '../scheme.ts';

/** The smallest and the largest value of a sharing group, or the interval that is left after clipping. */
export interface Limits {
  min: number;
  max: number;
}

/** What is fixed for a whole tensor. */
export interface RangeContext {
  readonly grid: IntegerGrid;
  readonly symmetric: boolean;
  /** Of asymmetric schemes. */
  readonly zero: 'integer' | 'float' | 'minimum';
  readonly arithmetic: Required<Arithmetic>;
  readonly options: RangeOptions;
  readonly emptyGroup: NonNullable<MatrixScheme['emptyGroup']>;
  /** Rounds to the compute dtype. */
  round(x: number): number;
  /** Rounds to the dtype in which scales are stored. */
  cast(x: number): number;
  /** Of the compute dtype. */
  readonly epsilon: number;
}

export interface Range {
  readonly name: RangeName | ContainerRange;
  readonly schemes: 'symmetric' | 'asymmetric' | 'both';
  /** The formula, for people: plans, reports and the lab print it. */
  describe(context: RangeContext): string;
  /** Limits of values[from, to). */
  limits(values: Float32Array, from: number, to: number, context: RangeContext): Limits;
  /** The scale that follows; 0 when the limits are. Negative only for `signed-extreme`. */
  scale(limits: Limits, context: RangeContext): number;
}
