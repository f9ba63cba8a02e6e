import type { GgufScalarType } from '../types.ts';

/** One scalar type of the metadata: its size and how a DataView reads and writes it. */
interface Scalar {
  readonly bytes: number;
  get(view: DataView, at: number): number | bigint;
  set(view: DataView, at: number, value: number | bigint): void;
  /** Smallest and largest integer; absent for floats. */
  readonly range?: readonly [number | bigint, number | bigint];
}

/** Type ids of metadata values: gguf.h `enum gguf_type`. */
export const valueTypeIds = [
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'f32',
  'bool',
  'string',
  'array',
  'u64',
  'i64',
  'f64',
] as const;

/** Integers that a number holds exactly are numbers, others stay bigint: 2^53 + 1 must not turn into 2^53. */
function exact(value: bigint): number | bigint {
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

export const scalars: Readonly<Record<Exclude<GgufScalarType, 'string' | 'bool'>, Scalar>> = {
  u8: { bytes: 1, range: [0, 255], get: (v, at) => v.getUint8(at), set: (v, at, x) => v.setUint8(at, Number(x)) },
  i8: { bytes: 1, range: [-128, 127], get: (v, at) => v.getInt8(at), set: (v, at, x) => v.setInt8(at, Number(x)) },
  u16: {
    bytes: 2,
    range: [0, 65_535],
    get: (v, at) => v.getUint16(at, true),
    set: (v, at, x) => v.setUint16(at, Number(x), true),
  },
  i16: {
    bytes: 2,
    range: [-32_768, 32_767],
    get: (v, at) => v.getInt16(at, true),
    set: (v, at, x) => v.setInt16(at, Number(x), true),
  },
  u32: {
    bytes: 4,
    range: [0, 2 ** 32 - 1],
    get: (v, at) => v.getUint32(at, true),
    set: (v, at, x) => v.setUint32(at, Number(x), true),
  },
  i32: {
    bytes: 4,
    range: [-(2 ** 31), 2 ** 31 - 1],
    get: (v, at) => v.getInt32(at, true),
    set: (v, at, x) => v.setInt32(at, Number(x), true),
  },
  f32: { bytes: 4, get: (v, at) => v.getFloat32(at, true), set: (v, at, x) => v.setFloat32(at, Number(x), true) },
  f64: { bytes: 8, get: (v, at) => v.getFloat64(at, true), set: (v, at, x) => v.setFloat64(at, Number(x), true) },
  u64: {
    bytes: 8,
    range: [0n, 2n ** 64n - 1n],
    get: (v, at) => exact(v.getBigUint64(at, true)),
    set: (v, at, x) => v.setBigUint64(at, BigInt(x), true),
  },
  i64: {
    bytes: 8,
    range: [-(2n ** 63n), 2n ** 63n - 1n],
    get: (v, at) => exact(v.getBigInt64(at, true)),
    set: (v, at, x) => v.setBigInt64(at, BigInt(x), true),
  },
};
