import { RecipeError } from '../../errors.ts';
import { type StorageType, storage } from '../../tensor/storage.ts';

/** What llama-quantize takes when rows are not a multiple of the wanted type's block (llama-quant.cpp `tensor_type_fallback`). */
const fallbacks: Partial<Record<StorageType, StorageType>> = {
  q2_k: 'q4_0',
  q3_k: 'q4_0',
  q4_k: 'q5_0',
  q5_k: 'q5_1',
  q6_k: 'q8_0',
  iq4_xs: 'iq4_nl',
  tq1_0: 'q4_0',
  tq2_0: 'q4_0',
  q2_0: 'q4_0',
  // llama-quantize makes no NVFP4 files; this is as large.
  nvfp4: 'q4_0',
};

/**
 * The type that fits rows of `cols` values: `wanted`, else its fallback, else f16, which fits every row.
 * Types of 32-value blocks have no fallback of their own and go to f16.
 * @throws RecipeError for rows that do not fit Q1_0, as llama-quantize refuses them: every other type is several times as large.
 */
export function fittingType(wanted: StorageType, cols: number): StorageType {
  if (fits(wanted, cols)) return wanted;
  if (wanted === 'q1_0') {
    throw new RecipeError({
      what: 'rows do not fit the blocks of q1_0, and no type stands in for it',
      value: cols,
      limit: `multiples of ${storage.q1_0.block}`,
      next: 'choose q2_0, or keep the tensors (--keep)',
    });
  }
  const fallback = fallbacks[wanted];
  return fallback && fits(fallback, cols) ? fallback : 'f16';
}

export function fits(type: StorageType, cols: number): boolean {
  return cols % storage[type].block === 0;
}
