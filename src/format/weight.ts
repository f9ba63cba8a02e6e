/** Tensors of a model made from the entries of a checkpoint. */
import type { TensorEntry } from '../checkpoint/types.ts';
import type { ModelTensor } from '../model/index.ts';
import { asMatrix } from '../tensor/tensor.ts';
import type { Field, StoredTensor, WeightTensor } from './types.ts';

/** What a tensor is in its model; a bag knows a name and a guess at the role. */
export type Identity = Pick<ModelTensor, 'name' | 'role'> & Partial<ModelTensor>;

/** What stands for a tensor until its identity in the model is known. */
export interface Unnamed {
  fileName: string;
  shape: readonly number[];
  named(identity: Identity): WeightTensor;
}

/** The tensors of a folder that another tool quantized. */
export interface JoinedTensors {
  tensors: Map<string, Unnamed>;
  /** What had to be guessed. */
  warnings: string[];
}

/** A tensor that is stored as itself. @param interleaved whether the file holds the rows of q and k in GGUF's order */
export function plainWeight(entry: TensorEntry, identity: Identity, interleaved = false): WeightTensor {
  const heads = interleaved ? identity.permute : undefined;
  const place = matrixOf(entry.shape, identity);
  const order = heads === undefined ? {} : { order: { heads, way: 'deinterleave' as const } };
  const stored: StoredTensor = { ...place, ...order, form: 'storage', type: entry.type, data: fieldOf(entry, place.rows) };
  return weightTensor(entry.name, entry.shape, identity, { stored, type: entry.type, bytes: entry.bytes });
}

/** The rows of a tensor; a bias [n] whose values move with the rows of its weight is a column of n rows. */
function matrixOf(shape: readonly number[], { permute }: Identity): { rows: number; cols: number } {
  const { rows, cols } = asMatrix(shape);
  return permute !== undefined && shape.length === 1 ? { rows: cols, cols: 1 } : { rows, cols };
}

export function weightTensor(
  fileName: string,
  shape: readonly number[],
  { name, role, layer, gguf, permute }: Identity,
  held: Pick<WeightTensor, 'stored' | 'type' | 'bytes' | 'input'>,
): WeightTensor {
  return {
    name,
    fileName,
    role,
    shape,
    ...held,
    ...(layer !== undefined && { layer }),
    ...(gguf !== undefined && { gguf }),
    ...(permute !== undefined && { permute }),
  };
}

/** An entry as `rows` equal rows. */
export function fieldOf(entry: TensorEntry, rows: number): Field {
  return { handle: entry.source.handle, offset: entry.offset, rowBytes: rows ? entry.bytes / rows : 0 };
}
