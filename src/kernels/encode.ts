/** Encoding and decoding of whole matrices that lie in JavaScript memory: in through the arena, call the kernel, out again. */
import { FormatError, NumericError, RecipeError } from '../errors.ts';
import { type StorageType, storage, storageBytes } from '../tensor/storage.ts';
import { blockTypes, type Encoder, encoderName } from './encoders.ts';
import type { Kernels } from './kernels.ts';

/**
 * x: [rows, cols], weights: [cols] importance, not all zero. Returns the blocks of all rows: ggml's bytes, or with `search` the same
 * layout with values that lose at most as much of sum weight * error^2 in each block.
 * Throws RecipeError where the shape does not fit the type or the type has no encoder, NumericError where a block type meets a
 * NaN or Inf, or the importance one or a negative value.
 */
export function encodeRows(
  kernels: Kernels,
  type: StorageType,
  x: Float32Array,
  cols: number,
  weights?: Float32Array,
  encoder: Encoder = 'exact',
): Uint8Array {
  checkShape(type, x.length, cols);
  checkImportance(type, cols, weights);
  const bytes = storageBytes(type, x.length);
  const mark = kernels.mark();
  try {
    const [from, to, importance] = [kernels.alloc(x.byteLength), kernels.alloc(bytes), kernels.alloc(weights ? cols * 4 : 0)];
    kernels.f32(from, x.length).set(x);
    const bad = storage[type].block > 1 ? kernels.call('first_nonfinite', from, x.length) : -1;
    if (bad >= 0) {
      const where = `[${Math.floor(bad / cols)}, ${bad % cols}]`;
      throw new NumericError({ what: 'a value is not finite', where, value: `${x[bad]}` });
    }
    if (weights) kernels.f32(importance, cols).set(weights);
    kernels.call(encoderName(type, encoder), from, to, x.length / cols, cols, weights ? importance : 0);
    return kernels.bytes(to, bytes).slice();
  } finally {
    kernels.reset(mark);
  }
}

function checkShape(type: StorageType, values: number, cols: number): void {
  if (!Object.hasOwn(blockTypes, type)) throw new RecipeError({ what: 'this storage type cannot be encoded', value: type });
  const { block } = storage[type];
  if (!(cols > 0) || cols % block) {
    throw new RecipeError({ what: `rows of ${type} are cut into blocks of ${block}`, value: cols, next: 'choose another type' });
  }
  if (values % cols) throw new RecipeError({ what: 'values do not fill whole rows', value: values, limit: cols });
}

function checkImportance(type: StorageType, cols: number, weights?: Float32Array): void {
  if (!weights) {
    if (blockTypes[type].imatrix !== 'required') return;
    throw new RecipeError({ what: `${type} needs an importance matrix`, next: 'collect one, or choose another type' });
  }
  if (weights.length !== cols) {
    throw new RecipeError({ what: 'the importance matrix has another width', value: weights.length, limit: cols });
  }
  const bad = weights.findIndex((w) => !(w >= 0 && w < Number.POSITIVE_INFINITY));
  if (bad < 0) return;
  throw new NumericError({ what: 'an importance is negative or not finite', where: `column ${bad}`, value: `${weights[bad]}` });
}

/** bytes: blocks of n values. Throws FormatError where the bytes do not hold n values, RecipeError for an unknown type. */
export function decodeRows(kernels: Kernels, type: StorageType, bytes: Uint8Array, n: number): Float32Array {
  if (!kernels.has(`decode_${type}`)) throw new RecipeError({ what: 'this storage type cannot be decoded', value: type });
  const needed = storageBytes(type, n);
  if (!Number.isInteger(needed) || needed < 0 || n % storage[type].block) {
    throw new FormatError({ what: `${n} values are no whole number of ${type} blocks`, limit: storage[type].block });
  }
  if (bytes.length < needed)
    throw new FormatError({ what: `too few bytes for ${n} ${type}`, value: bytes.length, limit: needed });

  const mark = kernels.mark();
  try {
    const [from, to] = [kernels.alloc(needed), kernels.alloc(n * 4)];
    kernels.bytes(from, needed).set(bytes.subarray(0, needed));
    kernels.call(`decode_${type}`, from, to, n);
    return kernels.f32(to, n).slice();
  } finally {
    kernels.reset(mark);
  }
}
