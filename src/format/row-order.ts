import type { RowOrder } from './types.ts';

/**
 * Which row of the stored tensor becomes row `r` of the result.
 * `interleave`: result row h*d + 2i + j is stored row h*d + j*d/2 + i, with d = rows / heads; `deinterleave` is its inverse.
 */
export function storedRow(order: RowOrder, rows: number, r: number): number {
  const d = rows / order.heads;
  const half = d / 2;
  const within = r % d;
  const head = r - within;
  return order.way === 'interleave'
    ? head + (within % 2) * half + (within >> 1)
    : head + (within % half) * 2 + (within >= half ? 1 : 0);
}

export function inverse(order: RowOrder): RowOrder {
  return { heads: order.heads, way: order.way === 'interleave' ? 'deinterleave' : 'interleave' };
}
