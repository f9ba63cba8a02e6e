/** What error feedback needs to know of one input: shared by all linears that read it. */

/**
 * In processing order, H + damp = R R' with R upper triangular, and S = R / diag(R) by columns. Column k aims at
 *   t_k = w_k + sum over j < k of (w_j - ŵ_j) S_jk
 * which is what GPTQ does by H^-1 = U' U, U = R^-1 (Chee et al., QuIP, arXiv 2307.13304, theorem 6). No inverse is needed.
 */
export interface Factor {
  cols: number;
  /** [cols]: order[i] is the column that is quantized i-th. */
  order: Int32Array;
  /**
   * S as upper tiles (i, j >= i), row after row, each [16][128 rows][8 columns]; beyond `cols` it is the identity. In a
   * SharedArrayBuffer where there are such, so that workers get it without a copy.
   */
  matrix: Float32Array;
  /** diag(R), [tiles * 128] */
  roots: Float32Array;
  /** [cols]: 1 where the input is always zero; such weights become zero. */
  dead: Uint8Array;
  /** The share of the mean diagonal that was added: more than asked for where that was not positive definite. */
  damp: number;
  retries: number;
}

/** Edge of a tile. */
export const TILE = 128;
/** Values of a tile. */
export const TILE_SIZE = TILE * TILE;

/** Tiles beside each other in a matrix with `cols` columns. */
export function tilesOf(cols: number): number {
  return Math.ceil(cols / TILE);
}

/** Where tile (i, j) starts among the upper tiles of a matrix of `tiles` x `tiles`; those of one row follow each other. */
export function tileOffset(tiles: number, i: number, j: number): number {
  return (i * tiles - (i * (i - 1)) / 2 + (j - i)) * TILE_SIZE;
}
