import type { BookShare } from '../quantized/form.ts';
import type { ActivationScheme, Arithmetic } from '../quantized/types.ts';
import type { StorageType } from '../tensor/storage.ts';
import type { ObserverName, ObserverOptions } from './observer/types.ts';

/** Who shares a scale: the whole tensor, one output row, or `group` consecutive inputs of one output row. */
export type Granularity = 'tensor' | 'channel' | { group: number };

/** Where scale and zero point come from (range/registry.ts has the formulas). */
export type RangeName = 'absmax-narrow' | 'absmax-full' | 'absmax-half' | 'absmax-gptq' | 'minmax' | ClippingRange;

/** Ranges that may leave values outside: they have to see all values that share a scale at once. */
export const clippingRanges = ['percentile', 'mse', 'sqnr', 'entropy', 'hqq', 'imatrix', 'output-mse', 'cross-entropy'] as const;
export type ClippingRange = (typeof clippingRanges)[number];

/** Rules that only one container has by custom, beside those that recipes name. */
export type ContainerRange = 'signed-extreme';

/** Parameters of the ranges that have some; plans refuse those that a range does not read. */
export interface RangeOptions {
  /** percentile: share of the values that stays inside, in percent (default 99.9). */
  percentile?: number;
  /** mse, sqnr, entropy, imatrix, output-mse: candidate ratios are 1 - i / 100 for i in [0, steps) (default 80); hqq: iterations (20). */
  steps?: number;
  /** Searches: only each so-many-th of these ratios (default 1); for searches that try a range many times. */
  stride?: number;
  /** The error is |x - x̂| to this power; mse: 2 by default (llm-compressor and GPTQ use 2.4), hqq: 0.7. */
  power?: number;
  /** cross-entropy: what the limits of mse are multiplied by, found by a run. */
  factor?: number;
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
  /**
   * The order in which columns are quantized: as they are stored; by descending diag(H); or whole groups by descending mean of diag(H)
   * and columns inside of them by descending diag(H), so that dynamic groups too are runs of columns as they are stored (GPTQModel's
   * group-aware reordering).
   */
  order: 'natural' | 'activation' | 'groups';
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

/** Values that stay at high precision beside the codes. */
export interface Split {
  /** So large a share of each row: by magnitude, or by what its rounding would cost the output. */
  sparse?: { share: number; by: 'magnitude' | 'sensitivity' };
  /** So many columns: those with the largest inputs. */
  columns?: { count: number };
  /** The error's best approximation of this rank, weighted by the mean squares of the inputs where `weighted`. */
  lowRank?: { rank: number; weighted: boolean };
}

/** Scales stored as codes under one float for each row or for the tensor. */
export interface NestedScales {
  /** Of the codes, integers from 0. */
  bits: number;
  per: 'row' | 'tensor';
}

/** How a run quantizes the input of a linear. What the codes of a static one cover, an observer finds on calibration text. */
export interface InputScheme extends ActivationScheme {
  /** Default: minmax. */
  observer?: ObserverName;
  observerOptions?: Omit<ObserverOptions, 'codes' | 'symmetric'>;
}

/** What a scheme of any grid can say besides its grid. */
export interface SchemeExtras {
  rounding?: Rounding;
  /** How the input of the linear is quantized at run time. */
  input?: InputScheme;
  split?: Split;
  /** A factor for each column, found by balancing rows and columns: SINQ (arXiv 2509.22944). */
  balance?: 'sinkhorn';
}

/** An integer grid with its granularity, range and arithmetic. */
export interface IntegerScheme extends SchemeExtras {
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
  /** Scales as integers under a float of their row. */
  nested?: NestedScales & { per: 'row' };
}

/** Lists of values that codes stand for. */
export const tableNames = ['nf4', 'fp4', 'e2m1', 'e2m3', 'e3m2', 'e4m3', 'e5m2', 'binary', 'ternary'] as const;
export type TableName = (typeof tableNames)[number];

/** A grid of listed values under a scale. */
export interface TableScheme extends SchemeExtras {
  kind: 'table';
  table: TableName;
  granularity: Granularity;
  /** The largest value of a group lands on the largest of the table, or the scale of least error is searched. */
  range: 'absmax' | 'mse' | 'imatrix';
  scaleType: 'f32' | 'f16' | 'bf16';
  nested?: NestedScales;
}

/** Minifloats in blocks of 32 under a power of two: MXFP4, MXFP6, MXFP8. */
export interface MxScheme extends SchemeExtras {
  kind: 'mx';
  element: 'e2m1' | 'e2m3' | 'e3m2' | 'e4m3' | 'e5m2';
  /** OCP's rule, the power above, the smallest that clips nothing, or the better of OCP's and the one above. */
  exponent: 'floor' | 'ceil' | 'fit' | 'best';
  /** The better of two powers counts columns by the mean squares of their inputs. */
  weighted?: boolean;
}

/** E2M1 in blocks of 16 under E4M3 scales under one f32. */
export interface Nvfp4Scheme extends SchemeExtras {
  kind: 'nvfp4';
  /** Where the largest value of a block lies: on 6, on 6 or 4, or wherever least is lost. */
  scale: 'six' | 'four-over-six' | 'search';
  /** What is lost counts columns by the mean squares of their inputs. */
  weighted?: boolean;
}

/** A grid that is learned from the weights: k-means. */
export interface CodebookScheme extends SchemeExtras {
  kind: 'codebook';
  /** Of an index; each stands for `dim` values. */
  bits: number;
  dim: 1 | 2 | 4;
  /** Who shares a book. */
  per: BookShare;
  /** Whether columns count by the mean squares of their inputs. */
  weighted: boolean;
  /** How the book's values are stored. */
  bookType: 'f32' | 'f16' | 'bf16';
}

/** What the matrix quantizers take: one row of kinds/registry.ts each. */
export type WeightScheme = IntegerScheme | TableScheme | MxScheme | Nvfp4Scheme | CodebookScheme;

/** What the quantizer itself accepts: also the ranges of single containers, and a minimum instead of a zero. */
export type MatrixScheme = Omit<IntegerScheme, 'range' | 'zero' | 'split' | 'balance' | 'nested'> & {
  range: RangeName | ContainerRange;
  zero?: 'integer' | 'float' | 'minimum';
};

/** What one tensor becomes. */
export type Scheme =
  /** Stays as it is in the source. */
  | { kind: 'keep' }
  /** A storage type: a float dtype or a ggml block type. `encoder`: scales and codes of the blocks are searched; absent: ggml's bytes. */
  | { kind: 'storage'; type: StorageType; rounding?: Rounding; encoder?: 'search' }
  | WeightScheme;

export function isWeightScheme(scheme: Scheme): scheme is WeightScheme {
  return scheme.kind !== 'keep' && scheme.kind !== 'storage';
}

/** Integers under scales, with nothing kept apart: what the containers of other projects hold. */
export function isPlainInteger(scheme: Scheme): scheme is IntegerScheme {
  return scheme.kind === 'integer' && !scheme.split && !scheme.balance && !scheme.nested;
}

/** Short name for tables: 'q4_k', 'int4 g128 asym', 'nf4 g64', 'keep'. */
export function schemeLabel(scheme: Scheme): string {
  switch (scheme.kind) {
    case 'keep':
      return 'keep';
    case 'storage':
      return scheme.type;
    case 'codebook':
      return `${scheme.bits / scheme.dim}-bit book${scheme.dim > 1 ? ` of ${scheme.dim}` : ''} ${bookLabel(scheme.per)}`;
    case 'table':
      return `${scheme.table} ${granularityLabel(scheme.granularity)}`;
    case 'mx':
      return `mx ${scheme.element}`;
    case 'nvfp4':
      return 'nvfp4';
    case 'integer':
      return `int${scheme.bits} ${granularityLabel(scheme.granularity)} ${scheme.symmetric ? 'sym' : 'asym'}`;
  }
}

/** Short name of who shares a learned book. */
export function bookLabel(per: BookShare): string {
  return typeof per === 'string' ? per : `columns ${per.columns}`;
}

function granularityLabel(granularity: Granularity): string {
  return typeof granularity === 'string' ? granularity : `g${granularity.group}`;
}
