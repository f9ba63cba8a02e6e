import type { Arithmetic } from '../quantized/types.ts';
import type { StorageType } from '../tensor/storage.ts';

/** Who shares a scale: the whole tensor, one output row, or `group` consecutive inputs of one output row. */
export type Granularity = 'tensor' | 'channel' | { group: number };

/** Where scale and zero point come from (range/registry.ts has the formulas). */
export type RangeName = 'absmax-narrow' | 'absmax-full' | 'absmax-half' | 'minmax' | 'percentile' | 'mse';

/** Rules that only one container has by custom, beside those that recipes name. */
export type ContainerRange = 'absmax-gptq' | 'signed-extreme';

/** Parameters of the ranges that have some; the others ignore them. */
export interface RangeOptions {
  /** percentile: share of the values that stays inside, in percent (default 99.9). */
  percentile?: number;
  /** mse: candidate ratios are 1 - i / 100 for i in [0, steps) (default 80). */
  steps?: number;
  /** mse: the error is |x - x̂| to this power (default 2; llm-compressor and GPTQ use 2.4). */
  power?: number;
  /** percentile and mse: the range whose formula turns the limits they find into a scale (default absmax-narrow or minmax). */
  base?: Exclude<RangeName | ContainerRange, 'percentile' | 'mse'>;
}

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
}

/** What the quantizer itself accepts: also the ranges of single containers, and a minimum instead of a zero. */
export type MatrixScheme = Omit<IntegerScheme, 'range' | 'zero'> & {
  range: RangeName | ContainerRange;
  zero?: 'integer' | 'float' | 'minimum';
};

/** What one tensor becomes. */
export type Scheme =
  /** Stays as it is in the source. */
  | { kind: 'keep' }
  /** A storage type: a float dtype or a ggml block type. */
  | { kind: 'storage'; type: StorageType }
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
