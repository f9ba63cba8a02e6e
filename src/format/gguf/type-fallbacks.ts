import { type StorageType, storage } from '../../tensor/storage.ts';

/** What llama-quantize takes when rows are not a multiple of the wanted type's block (llama-quant.cpp `tensor_type_fallback`). */
const fallbacks: Partial<Record<StorageType, StorageType>> = {
  q2_k: 'q4_0',
  q3_k: 'q4_0',
  q4_k: 'q5_0',
  q5_k: 'q5_1',
  q6_k: 'q8_0',
  iq4_xs: 'iq4_nl',
};

/**
 * The type that fits rows of `cols` values: `wanted`, else its fallback, else f16, which fits every row.
 * Types of 32-value blocks have no fallback of their own and go to f16.
 */
export function fittingType(wanted: StorageType, cols: number): StorageType {
  if (fits(wanted, cols)) return wanted;
  const fallback = fallbacks[wanted];
  return fallback && fits(fallback, cols) ? fallback : 'f16';
}

export function fits(type: StorageType, cols: number): boolean {
  return cols % storage[type].block === 0;
}
