import { ggufRow, huggingFaceRow } from '../model/index.ts';
import type { TileForm } from '../quantized/form.ts';
import { packingOf } from './packings.ts';
import type { RowOrder } from './types.ts';

/** Which row of the stored tensor becomes row `r` of the result. */
export function storedRow(order: RowOrder, rows: number, r: number): number {
  const dims = rows / order.heads;
  return order.way === 'interleave' ? huggingFaceRow(r, dims) : ggufRow(r, dims);
}

interface Ordered {
  rows: number;
  cols: number;
  order?: RowOrder;
  tile?: TileForm;
}

/** Rows that can only be moved together: whole heads of reordered rows, and rows whose values share a word. */
export function rowMultipleOf({ rows, order, tile }: Ordered): number {
  return leastCommonMultiple(order ? rows / order.heads : 1, tile ? packingOf(tile).rowMultiple(tile) : 1);
}

/** Rows to read at a time: about `values` values, at least one row, and a multiple that suits each of the tensors. */
export function rowStep(values: number, ...tensors: readonly Ordered[]): number {
  const multiple = tensors.map(rowMultipleOf).reduce(leastCommonMultiple);
  return multiple * Math.max(1, Math.floor(values / Math.max(1, tensors[0]!.cols * multiple)));
}

export function leastCommonMultiple(a: number, b: number): number {
  return (a * b) / greatestCommonDivisor(a, b);
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
