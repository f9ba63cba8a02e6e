/** Plain dtypes to f32 and back, and rows of a tensor as views. Block types are decoded by the kernels. */
import { FormatError, RecipeError } from '../errors.ts';
import { decodeBf16Array, encodeBf16Array } from '../numeric/bf16.ts';
import { decodeF16Array, encodeF16Array } from '../numeric/f16.ts';
import { decodeMinifloatArray, type MinifloatName, minifloats } from '../numeric/minifloat.ts';
import { type StorageType, storage, storageBytes } from './storage.ts';
import { asMatrix, type Tensor } from './tensor.ts';

/** bytes [n * size] -> out [n] */
type Decoder = (bytes: Uint8Array, out: Float32Array) => void;

/** Typed arrays need aligned starts, which tensors in files do not have. */
function aligned(bytes: Uint8Array, size: number): Uint8Array {
  return bytes.byteOffset % size === 0 ? bytes : bytes.slice();
}

type NumberArray = new (buffer: ArrayBufferLike, offset: number, length: number) => ArrayLike<number> & { length: number };
type BigArray = new (buffer: ArrayBufferLike, offset: number, length: number) => ArrayLike<bigint> & { length: number };

function numbers(View: NumberArray, size: number): Decoder {
  return (bytes, out) => {
    const from = aligned(bytes, size);
    out.set(new View(from.buffer, from.byteOffset, out.length));
  };
}

function bigs(View: BigArray): Decoder {
  return (bytes, out) => {
    const from = aligned(bytes, 8);
    const values = new View(from.buffer, from.byteOffset, out.length);
    for (let i = 0; i < out.length; i++) out[i] = Number(values[i]!);
  };
}

function halves(decode: (halves: Uint16Array, out: Float32Array) => Float32Array): Decoder {
  return (bytes, out) => {
    const from = aligned(bytes, 2);
    decode(new Uint16Array(from.buffer, from.byteOffset, out.length), out);
  };
}

function small(format: MinifloatName): Decoder {
  return (bytes, out) => void decodeMinifloatArray(minifloats[format], bytes.subarray(0, out.length), out);
}

const decoders: Partial<Record<StorageType, Decoder>> = {
  f32: (bytes, out) => new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes.subarray(0, out.byteLength)),
  f16: halves(decodeF16Array),
  bf16: halves(decodeBf16Array),
  f64: numbers(Float64Array, 8),
  i8: numbers(Int8Array, 1),
  i16: numbers(Int16Array, 2),
  i32: numbers(Int32Array, 4),
  i64: bigs(BigInt64Array),
  u8: numbers(Uint8Array, 1),
  u16: numbers(Uint16Array, 2),
  u32: numbers(Uint32Array, 4),
  u64: bigs(BigUint64Array),
  bool: numbers(Uint8Array, 1),
  f8_e4m3: small('e4m3fn'),
  f8_e5m2: small('e5m2'),
  f8_e8m0: small('e8m0'),
  f8_e4m3fnuz: small('e4m3fnuz'),
  f8_e5m2fnuz: small('e5m2fnuz'),
};

/** Whether `toF32` reads the type: every dtype of one value a cell except complex numbers. */
export function isPlain(type: StorageType): boolean {
  return decoders[type] !== undefined;
}

/**
 * Values of a plain dtype as f32, rounded where f32 cannot hold them (f64, 32- and 64-bit integers).
 * @param bytes little-endian, any alignment
 * @throws FormatError when the bytes are not a whole number of values, RecipeError for block types
 */
export function toF32(type: StorageType, bytes: Uint8Array, out?: Float32Array): Float32Array {
  const decode = decoders[type];
  if (!decode)
    throw new RecipeError({ what: 'this type is not made of plain values', value: type, next: 'decode it with its kernel' });
  const size = storage[type].bytes;
  const n = bytes.length / size;
  if (!Number.isInteger(n))
    throw new FormatError({ what: `the bytes are not whole ${type} values`, value: bytes.length, limit: size });
  if (out && out.length !== n)
    throw new FormatError({ what: 'the output holds another number of values', value: n, limit: out.length });
  const values = out ?? new Float32Array(n);
  decode(bytes, values);
  return values;
}

/** f32 values in a float dtype, little-endian; f16 and bf16 round half to even. */
export function fromF32(type: 'f32' | 'f16' | 'bf16', values: Float32Array): Uint8Array {
  if (type === 'f32') return new Uint8Array(values.slice().buffer);
  const bits = type === 'f16' ? encodeF16Array(values) : encodeBf16Array(values);
  return new Uint8Array(bits.buffer);
}

/** Bytes of one row (the last dimension). */
export function rowBytes(type: StorageType, shape: readonly number[]): number {
  return storageBytes(type, asMatrix(shape).cols);
}

/** Rows [from, to) as a view on the tensor's bytes. */
export function rowView({ type, shape, bytes }: Tensor, from: number, to: number): Uint8Array {
  const size = rowBytes(type, shape);
  return bytes.subarray(from * size, to * size);
}
