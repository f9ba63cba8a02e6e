/** Bounds of a safetensors header; each is checked before anything is allocated for what it bounds. */

/** Header bytes, the limit of the reference implementation (CWE-770: a header length is only a claim). */
export const MAX_HEADER_BYTES = 100_000_000;

/** Dimensions of a tensor: torch and NumPy stop at 64. */
export const MAX_DIMENSIONS = 64;
