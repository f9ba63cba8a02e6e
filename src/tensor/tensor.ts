import type { StorageType } from './storage.ts';

/** A whole tensor in memory. `bytes` are little-endian, row-major, `shape` outermost first ([out, in] for a linear layer). */
export interface Tensor {
  readonly type: StorageType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** Number of values; 1 for a scalar (shape []). */
export function elements(shape: readonly number[]): number {
  return shape.reduce((n, d) => n * d, 1);
}

/** A tensor seen as a matrix: the last dimension is a row, all others are rows. */
export function asMatrix(shape: readonly number[]): { rows: number; cols: number } {
  const cols = shape.at(-1) ?? 1;
  return { rows: cols === 0 ? 0 : elements(shape) / cols, cols };
}
