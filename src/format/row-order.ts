import { ggufRow, huggingFaceRow } from '../model/index.ts';
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
}

/** Rows that move together: a range of reordered rows holds whole heads. */
export function headRows({ rows, order }: Ordered): number {
  return order ? rows / order.heads : 1;
}

/** Rows to read at a time: about `values` values, at least one row, and whole heads of each of the tensors. */
export function rowStep(values: number, ...tensors: readonly Ordered[]): number {
  const heads = Math.max(...tensors.map(headRows));
  return heads * Math.max(1, Math.floor(values / Math.max(1, tensors[0]!.cols * heads)));
}
