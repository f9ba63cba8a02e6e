/**
 * The form in which a quantized model passes from a method to a container and back. It says what every code means without
 * saying how the codes are packed; packing belongs to format/.
 */
import type { Tensor } from '../tensor/tensor.ts';

/** How a scale, zero point or minimum is stored. */
export type Stored = 'f32' | 'f16' | 'bf16' | 'e4m3' | 'e8m0' | { bits: number };

/** Who shares a value: a rectangle of rows x cols (0 = all), a run of the flattened matrix, or lists of columns (activation order). */
export type Sharing = { rows: number; cols: number } | { flat: number } | { groupOf: Int32Array };

/**
 * Scales, zeros or minima, recursive: K-quants hold 6-bit codes under an f16, NVFP4 e4m3 under f32.
 * `values` are the effective values (parents multiplied in), row-major over the sharing grid of the tile.
 */
export interface Levels {
  values: Float32Array;
  stored: Stored;
  per: Sharing;
  /** Codes under `parent`: values[i] = (map ? map[codes[i]] : codes[i]) * parent + offset. */
  codes?: Int16Array;
  map?: Float32Array;
  offset?: number;
  parent?: Levels;
}

/** What one code means. Codes are stored unsigned: for a signed integer grid code 0 is -2^(bits-1). */
export type Grid =
  | { kind: 'integer'; bits: number; signed: boolean }
  | { kind: 'minifloat'; format: string }
  | { kind: 'codebook'; values: Float32Array; dim: number; per: Sharing }
  /** Bytes of a block type as its container stores them; `codes` are those bytes. */
  | { kind: 'opaque'; type: string };

/** In which dtype and order values are computed, where containers differ. */
export interface Arithmetic {
  compute: 'f32' | 'f16' | 'bf16' | 'f64';
  divide: 'divide' | 'reciprocal';
  rounding: 'halfEven' | 'halfAway' | 'trunc';
  /** Codes are computed with the scale before or after it is cast to its stored dtype. */
  scale: 'beforeCast' | 'afterCast';
  /** Where an integer zero point is added: round(x / s) + z (default) or round(x / s + z); they differ at ties and in 16 bits. */
  zero?: 'afterRounding' | 'beforeRounding';
}

/** Rows [from, to) of one matrix [out, in], independent of any file format. An expert is a matrix of its own, `name#e`. */
export interface QuantizedTile {
  name: string;
  shape: readonly [rows: number, cols: number];
  from: number;
  to: number;
  grid: Grid;
  /** [to - from, cols / dim], one a cell; for an opaque grid the encoded bytes [to - from, rowBytes]. */
  codes: Uint8Array | Uint16Array;
  /** Absent for an opaque grid only. */
  scale?: Levels;
  /** [cols], SINQ. */
  columnScale?: Float32Array;
  /** integer and float: x = s (c - z); minimum: x = s c + m; c is the grid's value, so a signed grid has signed zero points. */
  zero?: { kind: 'integer' | 'float' | 'minimum'; levels: Levels };
  sparse?: { row: Int32Array; col: Int32Array; value: Float32Array; stored: Stored };
  columns?: { index: Int32Array; value: Float32Array; stored: Stored };
  lowRank?: { a: Float32Array; b: Float32Array };
  arithmetic?: Arithmetic;
}

/** How a linear layer's input x [B, T, in] is quantized at run time: x̂ = s (c - z). */
export interface ActivationScheme {
  /** 2..8 */
  bits: number;
  /** A minifloat format in place of integers, such as 'e4m3'; `bits` is then its width, and there is no zero point. */
  float?: string;
  symmetric: boolean;
  /** Scale and zero point come from the values themselves while the model runs, or from `range`. */
  dynamic: boolean;
  per: 'tensor' | 'token' | 'channel' | { group: number };
  /**
   * LLM.int8(): columns of a sequence in which a value reaches this stay as they are, and the others are quantized without them.
   * Dynamic schemes by token only.
   */
  threshold?: number;
  /** Of static schemes: what the codes cover, one value for a tensor, [in] for channels, [in / group] for groups. */
  range?: { min: readonly number[]; max: readonly number[] };
  /** Of static schemes that a file holds, in place of a range; so many as of a range, zeros where asymmetric. */
  levels?: { scale: readonly number[]; zero?: readonly number[] };
}

/** How the keys or the values of a cache are stored. */
export interface KvSide {
  /** Integers of so many bits, or e4m3. */
  bits: 2 | 4 | 8 | 'fp8';
  /** channel: `group` consecutive tokens of one channel share a scale. token: `group` consecutive channels of one head and token. */
  per: 'channel' | 'token';
  group: number;
  /** x̂ = s c instead of s c + m (KIVI's form, the default of integers); e4m3 has no minimum. */
  symmetric?: boolean;
}

/**
 * A quantized key/value cache. Tokens enter it in f16 (the current one too) and are quantized a block at a time (a block is the longest group of tokens):
 * what the token at position t sees of those before it is quantized at positions [sinks, sinks + n block) with
 * n = floor(max(0, t - sinks - residual) / block), and f16 elsewhere.
 */
export interface KvScheme {
  key: KvSide;
  value: KvSide;
  /** So many tokens before the current one are f16 at least. */
  residual: number;
  /** The first tokens of the text, which stay f16. */
  sinks: number;
  /** Heads of keys and values are multiplied by a Hadamard matrix before they are quantized, and back. */
  hadamard: boolean;
}

/** A function-preserving rewrite that was folded into the weights (AWQ, SmoothQuant, rotations). */
export interface Rewrite {
  kind: string;
  [parameter: string]: unknown;
}

export interface QuantizedLinear {
  weight: AsyncIterable<QuantizedTile>;
  bias?: Tensor;
  input?: ActivationScheme;
}

export interface QuantizedModel {
  linears: Map<string, QuantizedLinear>;
  /** Tensors that stay as they are. */
  kept: Map<string, Tensor>;
  kv?: KvScheme[];
  rewrites: Rewrite[];
}
