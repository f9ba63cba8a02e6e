import type { ActivationScheme, Arithmetic } from '../quantized/types.ts';
import type { StorageType } from '../tensor/storage.ts';

/** Who shares a scale: the whole tensor, one output row, or `group` consecutive inputs of one output row. */
export type Granularity = 'tensor' | 'channel' | { group: number };

/** Where scale and zero point come from (range/registry.ts has the formulas). */
export type RangeName = 'absmax-narrow' | 'absmax-full' | 'absmax-half' | 'absmax-gptq' | 'minmax' | ClippingRange;

/** Ranges that may leave values outside: they have to see all values that share a scale at once. */
export const clippingRanges = ['percentile', 'mse', 'imatrix', 'output-mse'] as const;
export type ClippingRange = (typeof clippingRanges)[number];

/** Rules that only one container has by custom, beside those that recipes name. */
export type ContainerRange = 'signed-extreme';

/** Further ranges that may leave values outside, for callers of the quantizer: recipes name those of `clippingRanges`. */
export type SearchedRange = 'sqnr' | 'entropy' | 'hqq';

/** Parameters of the ranges that have some; the others ignore them. */
export interface RangeOptions {
  /** percentile: share of the values that stays inside, in percent (default 99.9). */
  percentile?: number;
  /** mse, sqnr, entropy, imatrix, output-mse: candidate ratios are 1 - i / 100 for i in [0, steps) (default 80); hqq: iterations (20). */
  steps?: number;
  /** The error is |x - x̂| to this power; mse: 2 by default (llm-compressor and GPTQ use 2.4), hqq: 0.7. */
  power?: number;
  /** Ranges that clip: the range whose formula turns the limits they find into a scale (default absmax-narrow or minmax). */
  base?: Exclude<RangeName | ContainerRange, ClippingRange>;
}

/**
 * GPTQ (Frantar et al., arXiv 2210.17323, section 3): columns are quantized one after another, and the error of each is spread over
 * those that follow, so that the output of the layer changes least.
 */
export interface GptqRounding {
  kind: 'gptq';
  /** Share of the mean of diag(H) that is added to the diagonal (0.01). */
  damp: number;
  /** The order in which columns are quantized: as they are stored, or by descending diag(H). */
  order: 'natural' | 'activation';
  /**
   * When a group gets its scale. dynamic: when its first column is reached, from the weights as the errors of finished blocks have
   * left them; in activation order a group is then a run of that order, and readers need a g_idx. static: all before the first column.
   */
  groups: 'dynamic' | 'static';
  /** Columns worked on between two updates of the rest (128). */
  block: number;
  /** After the feedback: rounds of refitted levels and descent on codes, by the same Hessian (0: none). */
  refine: number;
}

/** Which code a weight gets; the nearest one where a scheme has no rounding. */
export type Rounding = GptqRounding;

/** An integer grid with its granularity, range and arithmetic. */
export interface IntegerScheme {
  kind: 'integer';
  /** 1..8 */
  bits: number;
  symmetric: boolean;
  granularity: Granularity;
  range: RangeName;
  rangeOptions?: RangeOptions;
  /** How scales are stored. Codes are computed with the stored scale, unless `arithmetic` says otherwise. */
  scaleType: 'f32' | 'f16' | 'bf16';
  /** For asymmetric grids: an integer zero point of `bits` bits (default), or a float one stored like the scale. */
  zero?: 'integer' | 'float';
  /** Default: signed where symmetric. A symmetric unsigned grid has the zero point 2^(bits - 1) everywhere (GPTQ, AWQ). */
  signed?: boolean;
  /**
   * The scale of a group without a non-zero value: 1 (default), the epsilon of the compute dtype (compressed-tensors), 0
   * (ONNX MatMulNBits), or that of the range [-1, 1] (GPTQ).
   */
  emptyGroup?: 'one' | 'epsilon' | 'zero' | 'unit';
  arithmetic?: Partial<Arithmetic>;
  rounding?: Rounding;
  /** How the input of the linear is quantized at run time. */
  input?: ActivationScheme;
}

/** What the quantizer itself accepts: also the ranges of single containers, and a minimum instead of a zero. */
export type MatrixScheme = Omit<IntegerScheme, 'range' | 'zero'> & {
  range: RangeName | ContainerRange | SearchedRange;
  zero?: 'integer' | 'float' | 'minimum';
};

/** What one tensor becomes. */
export type Scheme =
  /** Stays as it is in the source. */
  | { kind: 'keep' }
  /** A storage type: a float dtype or a ggml block type. */
  | { kind: 'storage'; type: StorageType; rounding?: Rounding }
  | IntegerScheme;

/** Short name for tables: 'q4_k', 'int4 g128 asym', 'keep'. */
export function schemeLabel(scheme: Scheme): string {
  switch (scheme.kind) {
    case 'keep':
      return 'keep';
    case 'storage':
      return scheme.type;
    case 'integer': {
      const { granularity } = scheme;
      const per = typeof granularity === 'string' ? granularity : `g${granularity.group}`;
      return `int${scheme.bits} ${per} ${scheme.symmetric ? 'sym' : 'asym'}`;
    }
  }
}
