/** In which arithmetic a matrix product with quantized weights runs. */
import { RecipeError } from '../errors.ts';
import type { Role } from '../model/index.ts';
import type { WeightStorage } from './storage.ts';

/** Types that machines state rates for; fp16 stands for bf16 too. */
export const computeTypes = ['fp32', 'fp16', 'fp8', 'int8', 'int4'] as const;
export type ComputeType = (typeof computeTypes)[number];

export interface Precision {
  name: string;
  storage: WeightStorage;
  activationBits: number;
  compute: ComputeType;
  /** Roles whose matrices are stored so (the linears of layers). */
  roles?: readonly Role[];
  /** Bits of everything else (as the storage, at least 16). */
  keptBits?: number;
}

/** What is compared where nobody says what. Scales are 16 bits: one for 4096 weights of 8 bits (about a row), one with a zero for 128 of 4. */
export const precisions: readonly Precision[] = [
  { name: 'FP32', storage: { bits: 32 }, activationBits: 32, compute: 'fp32' },
  { name: 'FP16', storage: { bits: 16 }, activationBits: 16, compute: 'fp16' },
  { name: 'W8A8', storage: { bits: 8, group: 4096, zeroBits: 0 }, activationBits: 8, compute: 'int8' },
  { name: 'W4A16', storage: { bits: 4, group: 128 }, activationBits: 16, compute: 'fp16' },
];

/**
 * Weights and inputs of at most 8 bits meet as integers. Wider inputs are floats, and weights become floats before the product.
 * @param activationBits 32, 16 or 8; left out: as wide as weights of 32, 16 or 8 bits, 16 beside all others
 */
export function precisionOf(storage: WeightStorage, activationBits?: number): Precision {
  const { bits } = storage;
  const activation = activationBits ?? (bits === 32 || bits === 8 ? bits : 16);
  const compute = ({ 32: 'fp32', 16: 'fp16', 8: 'int8' } as const)[activation];
  if (!compute || (compute === 'int8' && bits > 8))
    throw new RecipeError({
      what: 'no arithmetic for these inputs',
      value: `W${bits}A${activation}`,
      limit: '32, 16 or 8; 8 with weights of at most 8',
    });
  const floats = bits === activation && bits > 8;
  return { name: floats ? `FP${bits}` : `W${bits}A${activation}`, storage, activationBits: activation, compute };
}
