/** What the original projects made, from test/golden/methods: a .safetensors with a .json of its cases beside it. */
import { readFileSync } from 'node:fs';
import type { StorageType } from '../tensor/storage.ts';
import { toF32 } from '../tensor/values.ts';

const golden = new URL('../../test/golden/methods/', import.meta.url);
const dtypes: Record<string, StorageType> = { F32: 'f32', F16: 'f16', I32: 'i32', I8: 'i8', U8: 'u8' };

export interface GoldenTensor {
  shape: number[];
  values: Float32Array;
}

export interface MethodGolden<Case> {
  cases: Case[];
  parameters: Record<string, unknown>;
  has(name: string): boolean;
  tensor(name: string): GoldenTensor;
  values(name: string): Float32Array;
}

/** @param path 'hqq/weights_64x128' */
export function readMethodGolden<Case>(path: string): MethodGolden<Case> {
  const file = readFileSync(new URL(`${path}.safetensors`, golden));
  const end = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, end));
  const { cases, parameters } = JSON.parse(readFileSync(new URL(`${path}.json`, golden), 'utf8'));
  const tensor = (name: string): GoldenTensor => {
    const { dtype, shape, data_offsets } = header[name];
    const bytes = Uint8Array.from(file.subarray(end + data_offsets[0], end + data_offsets[1]));
    if (dtype === 'I64') return { shape, values: Float32Array.from(new BigInt64Array(bytes.buffer), Number) };
    return { shape, values: toF32(dtypes[dtype]!, bytes) };
  };
  return { cases, parameters, has: (name) => name in header, tensor, values: (name) => tensor(name).values };
}

/** The largest |a - b|. */
export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i]! - b[i]!));
  return most;
}
