/**
 * How a quantized tensor lies in the fields of a file: plain data, known before any value is. `QuantizedTile` is what the fields hold.
 */
import type { Grid } from './types.ts';

/** How codes lie in fields; format/packings.ts has a row for each. */
export type PackingName = 'dense' | 'gptq' | 'gptq_v2' | 'compressed-tensors' | 'compressed-tensors-words' | 'int8';

export type FloatStored = 'f32' | 'f16' | 'bf16';

export type GridForm =
  | Extract<Grid, { kind: 'integer' | 'minifloat' }>
  /** One list of values for the whole tensor, by code; in the descriptor, not in a field. */
  | { kind: 'table'; name?: string; values: readonly number[] }
  /** Learned values, [2^bits, dim] for each row, for the tensor or for each run of columns, in the field `book`. */
  | { kind: 'books'; bits: number; dim: number; per: BookShare; stored: FloatStored };

/** Who shares a learned book: a row, the tensor, or so many consecutive columns of all rows (product quantization). */
export type BookShare = 'row' | 'tensor' | { columns: number };

/** How the codes and levels of a quantized tensor lie in fields (`codes`, `scale`, `zero`, `g_idx` ...). */
export interface TileForm {
  /** Default 'dense': rows of their own, low bits first. */
  packing?: PackingName;
  /** Activation order: a field `g_idx`, i32 [cols], says to which group of the levels a column belongs. */
  order?: boolean;
  grid: GridForm;
  scale: LevelForm;
  zero?: LevelForm & { kind: 'integer' | 'float' | 'minimum' };
  /** A factor for each column, [cols]. */
  columnScale?: FloatStored;
  /** So many values of each row that replace what the codes say; of a fraction some rows hold one more than others (quota.ts). */
  sparse?: { perRow: number; stored: FloatStored };
  /** So many whole columns that do. */
  columns?: { count: number; stored: FloatStored };
  /** A product a b that is added, a [rows, rank], b [rank, cols]. */
  lowRank?: { rank: number; stored: FloatStored };
}

export interface LevelForm {
  stored: FloatStored | 'e4m3' | 'e8m0' | { bits: number };
  /** Columns that share a value; 0 = the whole row. `wholeTensor`: one value for all rows. */
  group: number;
  wholeTensor?: boolean;
  /** The level is stored as codes under one float for each row or for the tensor: value = code x parent. */
  parent?: { stored: FloatStored; per: 'row' | 'tensor' };
}
