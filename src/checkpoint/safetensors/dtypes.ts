import type { StorageType } from '../../tensor/storage.ts';

/**
 * The dtypes of safetensors, in the order in which the reference implementation ranks them (tensor.rs `enum Dtype`, version
 * 0.8): it writes tensors from the last of these to the first, so that the widest are aligned.
 */
export const dtypes: readonly (readonly [dtype: string, type: StorageType])[] = [
  ['BOOL', 'bool'],
  ['F4', 'f4'],
  ['F6_E2M3', 'f6_e2m3'],
  ['F6_E3M2', 'f6_e3m2'],
  ['U8', 'u8'],
  ['I8', 'i8'],
  ['F8_E5M2', 'f8_e5m2'],
  ['F8_E4M3', 'f8_e4m3'],
  ['F8_E8M0', 'f8_e8m0'],
  ['F8_E4M3FNUZ', 'f8_e4m3fnuz'],
  ['F8_E5M2FNUZ', 'f8_e5m2fnuz'],
  ['I16', 'i16'],
  ['U16', 'u16'],
  ['F16', 'f16'],
  ['BF16', 'bf16'],
  ['I32', 'i32'],
  ['U32', 'u32'],
  ['F32', 'f32'],
  ['C64', 'c64'],
  ['F64', 'f64'],
  ['I64', 'i64'],
  ['U64', 'u64'],
];

const types = new Map(dtypes);
const ranks = new Map(dtypes.map(([dtype, type], rank) => [type, { dtype, rank }]));

/** The storage type of a dtype as headers spell it, or undefined. */
export function typeOfDtype(dtype: string): StorageType | undefined {
  return types.get(dtype);
}

/** How safetensors spells a storage type and where it ranks it, or undefined for a type that it does not have. */
export function dtypeOf(type: StorageType): { dtype: string; rank: number } | undefined {
  return ranks.get(type);
}
