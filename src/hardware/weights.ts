/** Bytes of weights: by the number of parameters alone (the 2 N rule, with scales), and exactly by the tensors of a model. */
import { RecipeError } from '../errors.ts';
import { type ModelSpec, type ModelTensor, modelTensors, type Role, roleGroups } from '../model/index.ts';
import { partsOf, type StoredForm } from '../quantize/effective-bits.ts';
import { type CompleteStorage, checkCount, completeStorage, type WeightStorage } from './storage.ts';

export interface WeightBytes {
  /** Sum of `parts`; a whole number. */
  bytes: number;
  /** What they are spent on: codes, scales, zeros, outliers, and tensors that are not quantized. */
  parts: { part: string; bytes: number }[];
  parameters: number;
  /** 8 x bytes / parameters. */
  bitsPerWeight: number;
}

/**
 * N parameters, all stored in the same way: N x bits / 8 bytes of codes (16 bits: 2 N), and scales and zeros for every group begun.
 * @throws RecipeError for one scale a row, which needs the rows of a model
 */
export function weightBytes(parameters: number, storage: WeightStorage): WeightBytes {
  const full = completeStorage(storage);
  checkCount('the number of parameters', parameters);
  if (full.group === -1 && full.scaleBits > 0) {
    throw new RecipeError({
      what: 'one scale a row: how many rows there are does not follow from the number of parameters',
      value: full.group,
      next: 'give a model, a group size, or count codes alone with --scale-bits 0',
    });
  }
  // One row of all parameters has the same groups as many rows, except for those that a row ends.
  const parts = partBytes(full, [1, parameters]);
  return total(parts, parameters);
}

/** One matrix [rows, cols]. */
export function matrixBytes(shape: readonly [rows: number, cols: number], storage: WeightStorage): WeightBytes {
  return total(partBytes(completeStorage(storage), shape), shape[0] * shape[1]);
}

export interface ModelStorage extends WeightStorage {
  /** Roles that are quantized (the linears of every layer: not the embedding, not the output, not norms). */
  roles?: readonly Role[];
  /** Bits of everything else (16). */
  keptBits?: number;
}

/** The tensors of a model: matrices of `roles` as the storage says, the others at `keptBits`. */
export function modelWeightBytes(spec: ModelSpec, storage: ModelStorage): WeightBytes {
  const full = completeStorage(storage);
  const parts = new Map<string, number>();
  let parameters = 0;
  for (const tensor of modelTensors(spec)) {
    parameters += elementsOf(tensor);
    for (const { part, bytes } of tensorParts(tensor, full, storage)) parts.set(part, (parts.get(part) ?? 0) + bytes);
  }
  return total(
    [...parts].map(([part, bytes]) => ({ part, bytes })),
    parameters,
  );
}

/** Bytes of the largest tensor of a model: what a loader that copies holds twice. */
export function largestTensorBytes(spec: ModelSpec, storage: ModelStorage): number {
  const full = completeStorage(storage);
  const bytes = modelTensors(spec).map((tensor) => sumOf(tensorParts(tensor, full, storage)));
  return bytes.reduce((most, one) => Math.max(most, one), 0);
}

export interface ParameterCount {
  all: number;
  /** Multiplied with the activations of every token: linears and the output matrix, which may be the embedding. */
  multiplied: number;
  /** Of `multiplied`, those of the output matrix. */
  output: number;
  /** Looked up: one row a token. 0 where the embedding is the output matrix too. */
  lookedUp: number;
}

export function parameterCount(spec: ModelSpec): ParameterCount {
  const count = { all: 0, multiplied: 0, output: 0, lookedUp: 0 };
  for (const tensor of modelTensors(spec)) {
    const size = elementsOf(tensor);
    count.all += size;
    if (tensor.shape.length !== 2) continue;
    const output = tensor.role === 'output' || (tensor.role === 'embedding' && spec.tied);
    if (output) count.output += size;
    if (tensor.role === 'embedding' && !spec.tied) count.lookedUp += size;
    else count.multiplied += size;
  }
  return count;
}

export function elementsOf({ shape }: Pick<ModelTensor, 'shape'>): number {
  return shape.reduce((product, n) => product * n, 1);
}

function tensorParts(tensor: ModelTensor, full: CompleteStorage, { roles = roleGroups.linear, keptBits = 16 }: ModelStorage) {
  const { shape, role } = tensor;
  if (shape.length === 2 && roles.includes(role)) return partBytes(full, [shape[0]!, shape[1]!]);
  return [{ part: 'not quantized', bytes: Math.ceil((elementsOf(tensor) * keptBits) / 8) }];
}

/** Each part in whole bytes. */
function partBytes(full: CompleteStorage, shape: readonly [rows: number, cols: number]): { part: string; bytes: number }[] {
  return partsOf(formOfStorage(full, shape)).map(({ part, bits }) => ({ part, bytes: Math.ceil(bits / 8) }));
}

function formOfStorage(
  { bits, group, scaleBits, zeroBits, nested, outliers }: CompleteStorage,
  shape: readonly [rows: number, cols: number],
): StoredForm {
  const per = { rows: 1, cols: group === -1 ? 0 : group };
  const parent = nested && { stored: { bits: nested.bits }, per: { flat: nested.group * (group === -1 ? shape[1] : group) } };
  return {
    shape,
    bits,
    ...(scaleBits > 0 && { scale: { stored: { bits: scaleBits }, per, ...(parent && { parent }) } }),
    ...(zeroBits > 0 && { zero: { stored: { bits: zeroBits }, per } }),
    ...(outliers && {
      sparse: {
        count: Math.ceil(outliers.share * shape[0] * shape[1]),
        stored: { bits: outliers.bits ?? 16 },
        indexBits: outliers.indexBits ?? 32,
      },
    }),
  };
}

function total(parts: { part: string; bytes: number }[], parameters: number): WeightBytes {
  const bytes = sumOf(parts);
  return { bytes, parts, parameters, bitsPerWeight: (8 * bytes) / parameters };
}

function sumOf(parts: readonly { bytes: number }[]): number {
  return parts.reduce((sum, { bytes }) => sum + bytes, 0);
}
