/**
 * Bounds of what a GGUF header may claim. Each count is first held against the bytes that are left in the file (a claim of n
 * items needs n times the smallest item); these bounds hold for huge files too. The numbers leave
 * ample room over published models.
 */

/** All of the header. CWE-770: parsing costs several times these bytes in memory. */
export const MAX_HEADER_BYTES = 100_000_000;

/** Key-value pairs; models have 20 to 60. CWE-770 (the class of CVE-2024-21802 and its batch: counts trusted). */
export const MAX_KEYS = 65_536;

/** Tensors; mixtures of experts have some thousands, since their experts are merged. CWE-770, CWE-190. */
export const MAX_TENSORS = 262_144;

/**
 * Elements of all arrays together; a vocabulary has up to 262,144 tokens, with scores, types and merges about a million elements.
 * CWE-770: a byte of the file may cost eight bytes of memory.
 */
export const MAX_ARRAY_ELEMENTS = 8_388_608;

/** Bytes of a string; a key may carry a whole tokenizer.json, tens of megabytes. CWE-789, CWE-125 (the class of CVE-2024-23496 and CVE-2025-66960). */
export const MAX_STRING_BYTES = 67_108_864;

/** Bytes of a key: the specification's 2^16 - 1. */
export const MAX_KEY_BYTES = 65_535;

/** Bytes of a tensor name: GGML_MAX_NAME is 64 with the NUL. CWE-120. */
export const MAX_NAME_BYTES = 63;

/** Dimensions of a tensor: GGML_MAX_DIMS. CWE-787 where readers keep them in a fixed array. */
export const MAX_DIMENSIONS = 4;

/** Alignment; real files use 32, some 64 or 4096. CWE-190: padding to 2^31 wraps in 32 bits. */
export const MAX_ALIGNMENT = 65_536;

/** Files of a split model: each is an open file (CWE-770). */
export const MAX_SPLITS = 1000;
