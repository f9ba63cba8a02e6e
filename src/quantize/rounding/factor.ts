/** What error feedback needs to know of one input: shared by all linears that read it. */

/**
 * In processing order, H + damp = R R' with R upper triangular and U = R^-1 (H^-1 = U' U): feeding errors of finished columns forward
 * through R / diag(R) equals feeding the rest backward through U / diag(U) (Chee et al., QuIP, arXiv 2307.13304, theorem 6).
 */
export interface Factor {
  cols: number;
  /** [cols]: order[i] is the column that is quantized i-th. */
  order: Int32Array;
  /** [cols, cols]; in a SharedArrayBuffer where there are such, so that workers get it without a copy. */
  matrix: Float32Array;
  /** [cols]: 1 where the input is always zero; such weights become zero. */
  dead: Uint8Array;
  /** The share of the mean diagonal that was added: more than asked for where that was not positive definite. */
  damp: number;
  retries: number;
}
