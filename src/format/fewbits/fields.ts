/** Reading of the container `fewbits`: the descriptor says which entries of the file are the fields of which tensor. */
import type { Checkpoint, Json, JsonObject, TensorEntry } from '../../checkpoint/types.ts';
import { FewbitsError, FormatError } from '../../errors.ts';
import { checkActivations } from '../../quantize/activations.ts';
import type { ActivationScheme } from '../../quantized/types.ts';
import { storage } from '../../tensor/storage.ts';
import { asMatrix } from '../../tensor/tensor.ts';
import { fieldBytes } from '../field-ranges.ts';
import { type InputNames, withLevels } from '../static-inputs.ts';
import { fieldSizes, fieldType, tileLabel } from '../tile-fields.ts';
import type { Field, StoredTensor, WeightTensor } from '../types.ts';
import { fieldOf, plainWeight, type Unnamed, weightTensor } from '../weight.ts';
import { type Described, type Descriptor, METADATA_KEY, readDescriptor } from './descriptor.ts';

/** The descriptors of a file or, for a folder of several files, of its configuration. */
export function describedTensors(checkpoint: Checkpoint): Map<string, Described> {
  return descriptorOf(checkpoint).tensors;
}

/** What a file of ours, or the configuration of a folder of several, says. */
export function descriptorOf(checkpoint: Checkpoint): Descriptor {
  const text = checkpoint.metadata?.get(METADATA_KEY);
  if (text !== undefined) return readDescriptor(text, checkpoint.name);
  const quantization = quantizationConfig(checkpoint);
  return quantization?.['quant_method'] === 'fewbits'
    ? readDescriptor(JSON.stringify(quantization), checkpoint.name)
    : { tensors: new Map() };
}

/** `quantization_config` of config.json, whatever tool wrote it. */
export function quantizationConfig({ config }: Checkpoint): JsonObject | undefined {
  const value = config?.['quantization_config'];
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
}

/** What made a file of ours: in its metadata or, for a folder of several files, in its configuration. */
export function provenanceOf(checkpoint: Checkpoint): { version?: string; source?: string; recipe?: JsonObject } | undefined {
  const text = checkpoint.metadata?.get(METADATA_KEY);
  const document = text === undefined ? quantizationConfig(checkpoint) : (JSON.parse(text) as JsonObject);
  if (text === undefined && document?.['quant_method'] !== 'fewbits') return undefined;
  const { version, source, recipe } = objectOf(document?.['provenance']);
  return {
    ...(typeof version === 'string' && { version }),
    ...(typeof source === 'string' && { source }),
    ...(recipe !== undefined && { recipe: objectOf(recipe) }),
  };
}

function objectOf(value: Json | undefined): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
}

/**
 * Joins the fields of each described tensor; every other entry is a tensor of its own.
 * @throws FormatError where a field is missing or does not have the dtype and bytes that its descriptor demands
 */
export async function joinFields(
  checkpoint: Checkpoint,
  described: ReadonlyMap<string, Described>,
): Promise<Map<string, Unnamed>> {
  const joined = new Map<string, Unnamed>();
  const taken = new Set<string>();
  for (const [name, one] of described) {
    const field = (key: string, type: TensorEntry['type'], bytes: number): TensorEntry => {
      const entry = checkedEntry(checkpoint, `${name}.${key}`, type, bytes);
      taken.add(entry.name);
      return entry;
    };
    const stored = one.form === 'tile' ? tileOf(one, name, field) : blocksOf(one, name, field);
    const input =
      one.form === 'tile' && one.input && (await withLevels(checkpoint, one.input, stored.stored.cols, inputNames(name)));
    if (input) checkInput(input.input, name, stored.stored.cols);
    for (const entry of input ? input.entries : []) taken.add(entry.name);
    const held = { ...stored, ...(input && { input: input.input }) };
    joined.set(name, { fileName: name, shape: one.shape, named: (identity) => weightTensor(name, one.shape, identity, held) });
  }
  for (const entry of checkpoint.tensors.values()) {
    if (taken.has(entry.name)) continue;
    if (joined.has(entry.name)) throw damaged(checkpoint, entry.name, 'a tensor is stored twice');
    const { name: fileName, shape } = entry;
    joined.set(fileName, { fileName, shape, named: (identity) => plainWeight(entry, identity) });
  }
  return joined;
}

/** Where the levels of a static input lie. */
export function inputNames(name: string): InputNames {
  return { scale: `${name}.input_scale`, zero: `${name}.input_zero` };
}

type Held = Pick<WeightTensor, 'stored' | 'type' | 'bytes' | 'input'>;
type FieldReader = (key: string, type: TensorEntry['type'], bytes: number) => TensorEntry;

function blocksOf({ shape, type }: Extract<Described, { form: 'blocks' }>, name: string, field: FieldReader): Held {
  const { rows, cols } = asMatrix(shape);
  const { block, bytes } = storage[type];
  if (cols % block !== 0) throw misfit(name, `rows of ${cols} values`, `blocks of ${block}`);
  const entry = field('blocks', 'u8', rows * (cols / block) * bytes);
  const stored: StoredTensor = { rows, cols, form: 'storage', type, data: fieldOf(entry, rows) };
  return { stored, type, bytes: entry.bytes };
}

function tileOf({ shape, tile }: Extract<Described, { form: 'tile' }>, name: string, field: FieldReader): Held {
  const { rows, cols } = asMatrix(shape);
  for (const { group } of [tile.scale, ...(tile.zero ? [tile.zero] : [])])
    if (group > 0 && cols % group !== 0) throw misfit(name, `rows of ${cols} values`, `groups of ${group}`);
  const { grid } = tile;
  if (grid.kind === 'books' && cols % grid.dim !== 0) throw misfit(name, `rows of ${cols} values`, `codes of ${grid.dim} values`);
  const fields: Record<string, Field> = {};
  let bytes = 0;
  for (const [key, size] of Object.entries(fieldSizes(tile, cols))) {
    const entry = field(key, fieldType(tile, key), fieldBytes(size, rows));
    fields[key] = { ...fieldOf(entry, rows), ...size };
    bytes += entry.bytes;
  }
  return { stored: { rows, cols, form: 'tile', tile, fields }, type: tileLabel(tile), bytes };
}

/** @throws FormatError for an input that no graph can quantize like that */
function checkInput(input: ActivationScheme, name: string, cols: number): void {
  try {
    checkActivations(input, name, cols);
  } catch (error) {
    if (!(error instanceof FewbitsError)) throw error;
    const { what, value, limit } = error.problem;
    throw new FormatError({
      what: `metadata ${METADATA_KEY}: ${what}`,
      ...{ where: name, value, limit, next: 'the file is damaged; make it again' },
    });
  }
}

function checkedEntry(checkpoint: Checkpoint, name: string, type: TensorEntry['type'], bytes: number): TensorEntry {
  const entry = checkpoint.tensors.get(name);
  if (!entry) throw damaged(checkpoint, name, 'a field of a quantized tensor is missing');
  if (entry.type === type && entry.bytes === bytes) return entry;
  throw new FormatError({
    what: 'a field of a quantized tensor is not what its descriptor says',
    where: `${checkpoint.name}: ${name}`,
    value: `${entry.bytes} bytes of ${entry.type}`,
    limit: `${bytes} bytes of ${type}`,
    next: 'the file is damaged; make it again',
  });
}

function damaged(checkpoint: Checkpoint, name: string, what: string): FormatError {
  return new FormatError({ what, where: `${checkpoint.name}: ${name}`, next: 'the file is damaged; make it again' });
}

function misfit(name: string, value: string, limit: string): FormatError {
  return new FormatError({
    what: `metadata ${METADATA_KEY}: rows do not divide`,
    where: name,
    value,
    limit,
    next: 'the file is damaged; make it again',
  });
}
