/**
 * How tensor values lie in bytes: every storage type has a block of `block` values in `bytes` bytes.
 * Plain dtypes are those of safetensors; block types are ggml's, with its type ids
 * (ggml.h `enum ggml_type`, block sizes from ggml-common.h).
 */
export interface StorageInfo {
  readonly block: number;
  readonly bytes: number;
  /** ggml's type id, where ggml knows the type. */
  readonly ggml?: number;
}

const table = {
  f32: { block: 1, bytes: 4, ggml: 0 },
  f16: { block: 1, bytes: 2, ggml: 1 },
  bf16: { block: 1, bytes: 2, ggml: 30 },
  f64: { block: 1, bytes: 8, ggml: 28 },
  i8: { block: 1, bytes: 1, ggml: 24 },
  i16: { block: 1, bytes: 2, ggml: 25 },
  i32: { block: 1, bytes: 4, ggml: 26 },
  i64: { block: 1, bytes: 8, ggml: 27 },
  u8: { block: 1, bytes: 1 },
  u16: { block: 1, bytes: 2 },
  u32: { block: 1, bytes: 4 },
  u64: { block: 1, bytes: 8 },
  bool: { block: 1, bytes: 1 },
  c64: { block: 1, bytes: 8 },
  f8_e4m3: { block: 1, bytes: 1 },
  f8_e5m2: { block: 1, bytes: 1 },
  f8_e8m0: { block: 1, bytes: 1 },
  f8_e4m3fnuz: { block: 1, bytes: 1 },
  f8_e5m2fnuz: { block: 1, bytes: 1 },
  f6_e2m3: { block: 4, bytes: 3 },
  f6_e3m2: { block: 4, bytes: 3 },
  f4: { block: 2, bytes: 1 },

  q4_0: { block: 32, bytes: 18, ggml: 2 },
  q4_1: { block: 32, bytes: 20, ggml: 3 },
  q5_0: { block: 32, bytes: 22, ggml: 6 },
  q5_1: { block: 32, bytes: 24, ggml: 7 },
  q8_0: { block: 32, bytes: 34, ggml: 8 },
  q8_1: { block: 32, bytes: 36, ggml: 9 },
  q2_k: { block: 256, bytes: 84, ggml: 10 },
  q3_k: { block: 256, bytes: 110, ggml: 11 },
  q4_k: { block: 256, bytes: 144, ggml: 12 },
  q5_k: { block: 256, bytes: 176, ggml: 13 },
  q6_k: { block: 256, bytes: 210, ggml: 14 },
  q8_k: { block: 256, bytes: 292, ggml: 15 },
  iq2_xxs: { block: 256, bytes: 66, ggml: 16 },
  iq2_xs: { block: 256, bytes: 74, ggml: 17 },
  iq3_xxs: { block: 256, bytes: 98, ggml: 18 },
  iq1_s: { block: 256, bytes: 50, ggml: 19 },
  iq4_nl: { block: 32, bytes: 18, ggml: 20 },
  iq3_s: { block: 256, bytes: 110, ggml: 21 },
  iq2_s: { block: 256, bytes: 82, ggml: 22 },
  iq4_xs: { block: 256, bytes: 136, ggml: 23 },
  iq1_m: { block: 256, bytes: 56, ggml: 29 },
  tq1_0: { block: 256, bytes: 54, ggml: 34 },
  tq2_0: { block: 256, bytes: 66, ggml: 35 },
  mxfp4: { block: 32, bytes: 17, ggml: 39 },
  nvfp4: { block: 64, bytes: 36, ggml: 40 },
  q1_0: { block: 128, bytes: 18, ggml: 41 },
  q2_0: { block: 64, bytes: 18, ggml: 42 },
} as const satisfies Record<string, StorageInfo>;

export type StorageType = keyof typeof table;
export const storage: Readonly<Record<StorageType, StorageInfo>> = table;

/** Types whose values are no real numbers: they are only ever copied. */
const notReal: ReadonlySet<StorageType> = new Set(['i8', 'i16', 'i32', 'i64', 'u8', 'u16', 'u32', 'u64', 'bool', 'c64']);

/** float: real numbers one by one; block: quantized values; integer: indices, flags, complex numbers. */
export function storageKind(type: StorageType): 'float' | 'block' | 'integer' {
  if (notReal.has(type)) return 'integer';
  return /^b?f\d/.test(type) ? 'float' : 'block';
}

export function isStorageType(name: string): name is StorageType {
  return Object.hasOwn(table, name);
}

/** Bytes of `values` values; `values` must be a multiple of the block. */
export function storageBytes(type: StorageType, values: number): number {
  const { block, bytes } = storage[type];
  return (values / block) * bytes;
}

const byGgml = new Map<number, StorageType>();
for (const [name, info] of Object.entries(storage)) if (info.ggml !== undefined) byGgml.set(info.ggml, name as StorageType);

/** The storage type with ggml's type id, or undefined. */
export function storageOfGgml(id: number): StorageType | undefined {
  return byGgml.get(id);
}
