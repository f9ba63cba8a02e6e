/** Tensors of a golden safetensors file, and the JSON beside it. */
import { readFileSync } from 'node:fs';
import type { StorageType } from '../../tensor/storage.ts';
import { toF32 } from '../../tensor/values.ts';

const folder = new URL('../../../test/golden/methods/', import.meta.url);
const types: Record<string, StorageType> = { F32: 'f32', F16: 'f16', BF16: 'bf16' };

export interface Golden {
  has(name: string): boolean;
  bytes(name: string): Uint8Array<ArrayBuffer>;
  /** F32, F16 and BF16 as f32. */
  values(name: string): Float32Array;
  doubles(name: string): Float64Array;
  shape(name: string): number[];
}

export function golden(path: string): Golden {
  const file = readFileSync(new URL(`${path}.safetensors`, folder));
  const end = 8 + Number(file.readBigUInt64LE(0));
  const header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }> = JSON.parse(
    file.toString('utf8', 8, end),
  );
  const bytes = (name: string) => {
    const { data_offsets } = header[name]!;
    return Uint8Array.from(file.subarray(end + data_offsets[0], end + data_offsets[1]));
  };
  return {
    has: (name) => name in header,
    bytes,
    values: (name) => toF32(types[header[name]!.dtype]!, bytes(name)),
    doubles: (name) => new Float64Array(bytes(name).buffer),
    shape: (name) => header[name]!.shape,
  };
}

export function goldenJson<T>(path: string): T {
  return JSON.parse(readFileSync(new URL(`${path}.json`, folder), 'utf8'));
}
