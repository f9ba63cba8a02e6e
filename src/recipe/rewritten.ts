/**
 * The model that a recipe's transforms leave, known from headers alone: which tensors change, and where the run puts them. They lie as
 * f32 in one file beside the unfinished output, so that calibration and quantization see a model like any other.
 */
import { layoutSafetensors } from '../checkpoint/safetensors/index.ts';
import type { Checkpoint } from '../checkpoint/types.ts';
import { RecipeError } from '../errors.ts';
import type { Model, StoredTensor, WeightTensor } from '../format/types.ts';
import type { SourceHandle } from '../io/types.ts';
import { type ModelSpec, modelFolds, modelTensors } from '../model/index.ts';
import type { Scheme } from '../quantize/scheme.ts';
import { type OnlineRotation, type QuarotOptions, quarot } from '../quantize/transform/index.ts';
import { type StorageType, storageBytes, storageKind } from '../tensor/storage.ts';
import type { Transform } from './schema.ts';

/** Stands for the rewritten file until the run has made it: `rewrittenFrom` puts the file in its place. */
const PENDING: SourceHandle = { kind: 'memory', bytes: new Uint8Array(0) };

export interface RewrittenModel {
  /** Tensors, specification and configuration as they will be. */
  model: Model;
  transforms: readonly Transform[];
  /** Canonical name -> where its values go. */
  places: ReadonlyMap<string, { offset: number; bytes: number }>;
  header: Uint8Array;
  fileSize: number;
}

/** @throws RecipeError for a bag of tensors: nobody knows what follows what in it */
export async function rewrittenModel(model: Model, transforms: readonly Transform[]): Promise<RewrittenModel> {
  const { spec } = model;
  if (!spec) {
    throw new RecipeError({
      what: `${transforms[0]!.kind} changes what is in front of a linear too, and a bag of tensors does not say what that is`,
      where: model.name,
      next: 'give a model folder or a GGUF file',
    });
  }
  const unties = spec.tied && transforms.some((one) => one.kind === 'quarot' && one.hidden);
  const after: ModelSpec = unties ? { ...spec, tied: false } : spec;
  const online = await onlineRotations(spec, transforms);
  const changed = changedTensors(after, transforms);
  const tensors = [...model.tensors, ...(unties ? [headOf(model, after)] : [])];
  const moved = tensors.filter(({ name }) => changed.has(name));
  const { header, offsets, fileSize } = layoutSafetensors(
    moved.map(({ name, shape }) => ({ name, type: 'f32' as const, shape })),
  );
  const rewritten = tensors.map((tensor) => {
    const place = offsets.get(tensor.name);
    return place ? inFile(tensor, place.offset) : tensor;
  });
  return {
    model: {
      ...model,
      spec: after,
      tensors: rewritten,
      checkpoint: unties ? untied(model.checkpoint) : model.checkpoint,
      ...(online.length > 0 && { online }),
    },
    transforms,
    places: offsets,
    header,
    fileSize,
  };
}

/** They follow from the shape of the model: gains that are folded change weights alone. */
async function onlineRotations(spec: ModelSpec, transforms: readonly Transform[]): Promise<OnlineRotation[]> {
  const online: OnlineRotation[] = [];
  for (const transform of transforms) {
    if (transform.kind !== 'quarot') continue;
    const gains = async () => new Float32Array(spec.hidden).fill(1);
    online.push(...(await quarot(spec, gains, quarotOptions(transform))).online);
  }
  return online;
}

/** The recipe's words as the transform takes them. */
export function quarotOptions({ seed, hidden, values, down, queryKey }: Extract<Transform, { kind: 'quarot' }>): QuarotOptions {
  return { seed, ...(!hidden && { hidden: false }), values: values === 'none' ? false : values, down, queryKey };
}

/** Tensors that stay do so in the dtype that they had: the file of rewritten ones is f32 for the calculation's sake. */
export function keptTypes(before: Model, after: RewrittenModel): (tensor: WeightTensor, scheme: Scheme) => Scheme {
  const types = new Map(before.tensors.map(({ name, stored }) => [name, floatType(stored)]));
  const embedding = before.tensors.find(({ role }) => role === 'embedding');
  return (tensor, scheme) => {
    if (scheme.kind !== 'keep' || !after.places.has(tensor.name)) return scheme;
    const type = types.get(tensor.name) ?? (embedding && floatType(embedding.stored)) ?? 'f16';
    // A gain or a bias is little and multiplies everything behind it.
    return { kind: 'storage', type: tensor.shape.length === 1 ? 'f32' : type };
  };
}

function floatType(stored: StoredTensor): StorageType {
  return stored.form === 'storage' && storageKind(stored.type) === 'float' ? stored.type : 'f16';
}

/** The same tensor, read from `handle` where it was to be read from the file that was not there yet. */
export function rewrittenFrom<T extends StoredTensor>(stored: T, handle: SourceHandle): T {
  if (stored.form !== 'storage' || stored.data.handle !== PENDING) return stored;
  return { ...stored, data: { ...stored.data, handle } };
}

/** Of a linear and what is in front of it, or, where hidden states are rotated, of everything. */
function changedTensors(spec: ModelSpec, transforms: readonly Transform[]): Set<string> {
  const all = modelTensors(spec).filter(({ role }) => role !== 'rope');
  if (transforms.some((one) => one.kind === 'quarot')) return new Set(all.map(({ name }) => name));
  const folded = modelFolds(spec).filter(({ layer }) => layer < spec.layers);
  return new Set(
    folded.flatMap(({ from, to }) => [
      ...to,
      ...(from.kind === 'norm' ? [from.gain] : [from.weight, ...(from.bias === undefined ? [] : [from.bias])]),
    ]),
  );
}

function headOf(model: Model, spec: ModelSpec): WeightTensor {
  const head = modelTensors(spec).find(({ role }) => role === 'output')!;
  const embedding = model.tensors.find(({ role }) => role === 'embedding')!;
  const { layer: _, permute: __, ...rest } = embedding;
  return { ...rest, name: head.name, fileName: head.name, role: 'output', ...(head.gguf !== undefined && { gguf: head.gguf }) };
}

function inFile(tensor: WeightTensor, offset: number): WeightTensor {
  const { rows, cols } = tensor.stored;
  const data = { handle: PENDING, offset, rowBytes: storageBytes('f32', cols) };
  return { ...tensor, type: 'f32', bytes: 4 * rows * cols, stored: { rows, cols, form: 'storage', type: 'f32', data } };
}

function untied(checkpoint: Checkpoint): Checkpoint {
  const { config } = checkpoint;
  return {
    ...checkpoint,
    ...(config && { config: { ...config, tie_word_embeddings: false } }),
    close: () => checkpoint.close(),
  };
}
