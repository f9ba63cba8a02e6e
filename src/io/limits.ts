/**
 * Bounds on what one call may allocate or list. A size read from a file is a claim, so it is held against the source's real
 * size first and against these afterwards (CWE-770 allocation without limits, CWE-789 allocation with an excessive size).
 */

/** Most bytes one `read` allocates. Browsers cap an ArrayBuffer near 2 GiB; larger tensors are read by rows. */
export const MAX_READ_BYTES = 2 ** 31;

/** Most files a store lists: a model folder holds hundreds, a home directory given by mistake holds millions. */
export const MAX_LISTED_FILES = 100_000;
