/**
 * A multiply-accumulate array as in the white paper of Nagel et al. (arXiv 2106.08295, figure 1): processing elements C[n, m] = W[n, m] x[m],
 * whose sum over m goes to the accumulators A[n] = b[n] + Σ_m C[n, m], a block of outputs and a block of inputs a cycle.
 */
import type { FloatName } from '../../numeric/index.ts';

/** y [tokens, out] = x [tokens, in] W^T + bias. Integer layers hold codes, float layers values. */
export interface MacLayer {
  out: number;
  in: number;
  tokens: number;
  /** [out, in] */
  weights: ArrayLike<number>;
  /** [tokens, in] */
  inputs: ArrayLike<number>;
  /** [out]; of an integer layer whole numbers at the scale s_w s_x, as int32 biases are stored. */
  bias?: ArrayLike<number>;
  /** [out]; absent: 0. */
  weightZero?: ArrayLike<number>;
  inputZero?: number;
}

export interface IntegerArithmetic {
  kind: 'integer';
  weights: IntegerCodes;
  inputs: IntegerCodes;
  accumulatorBits: number;
  /** What an accumulator does with a sum that it cannot hold. */
  overflow: 'wrap' | 'saturate';
}

export interface IntegerCodes {
  bits: number;
  signed: boolean;
}

/** Products and sums are rounded to the accumulator's type one by one: within a cycle from the first input to the last, then into A[n]. */
export interface FloatArithmetic {
  kind: 'float';
  /** Type of weights and inputs. */
  operands: FloatName;
  accumulator: FloatName;
}

export type MacArithmetic = IntegerArithmetic | FloatArithmetic;

/**
 * weight: a block of weights stays in the array while all tokens pass; partial sums of all tokens wait in the accumulators' memory.
 * output: the sums of one token stay until they are complete; weights stream.
 */
export type Dataflow = 'weight' | 'output';

export interface MacArray {
  /** Accumulators: outputs a cycle. */
  rows: number;
  /** Processing elements of an accumulator: inputs a cycle. */
  cols: number;
  dataflow: Dataflow;
  arithmetic: MacArithmetic;
  /** Second buffers: weights are loaded and sums written while the array multiplies (false: both take cycles of their own). */
  doubleBuffered?: boolean;
}

export type CycleKind = 'load' | 'multiply' | 'drain';

export interface MacStep {
  kind: CycleKind;
  /** Outputs in the rows of the array. */
  outputs: readonly [from: number, to: number];
  /** Inputs in its columns; of a load, too. */
  inputs: readonly [from: number, to: number];
  /** Of a load: which row of weights arrives. Else the token. */
  index: number;
}

/** One cycle, for stepping through. */
export interface MacCycle extends MacStep {
  cycle: number;
  /** C[n, m], [outputs, inputs] of this step; empty where nothing is multiplied. */
  products: Float64Array;
  /** A[n] of this token after the cycle, [outputs]; empty while weights are loaded. */
  accumulators: Float64Array;
  /** Sums of this cycle that did not fit. */
  overflows: number;
}

export interface MacRun {
  /** [tokens, out]; of integers with all four terms of zero points, before scales. */
  output: Float64Array;
  cycles: number;
  cyclesByKind: Record<CycleKind, number>;
  /** Multiplications that the layer needs. */
  macs: number;
  /** macs / (cycles x rows x cols). */
  utilization: number;
  /** Sums that did not fit their accumulator. */
  overflows: number;
  /** Least and greatest value that an accumulator was to hold, initial values and partial sums included, before it overflowed. */
  range: readonly [least: number, most: number];
}
