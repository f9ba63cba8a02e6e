/**
 * From raw bytes with names to a model that is understood: architecture, roles, how each tensor is decoded, tokenizer.
 */
import { type Location, openCheckpoint } from '../checkpoint/index.ts';
import type { Checkpoint, JsonObject, TensorEntry } from '../checkpoint/types.ts';
import { FormatError, ModelError } from '../errors.ts';
import { read } from '../io/index.ts';
import {
  type ModelSpec,
  type ModelTensor,
  matchTensors,
  modelTensors,
  type Role,
  readGgufSpec,
  readSpec,
} from '../model/index.ts';
import { asMatrix, elements } from '../tensor/tensor.ts';
import { type Tokenizer, tokenizerFromGguf, tokenizerFromHuggingFace } from '../tokenizer/index.ts';
import { type Described, METADATA_KEY, readDescriptor } from './fewbits/descriptor.ts';
import { categoryOf } from './gguf/type-rules.ts';
import { gridBits } from './tile-fields.ts';
import type { Field, Model, StoredTensor, WeightTensor } from './types.ts';

/**
 * Opens MODEL: a Hugging Face folder, a .gguf or .safetensors file, a quantized output of ours, or a URL of any of these.
 * Only headers are read. @throws FileError, FormatError, ModelError
 */
export async function open(location: Location): Promise<Model> {
  const checkpoint = await openCheckpoint(location);
  try {
    return understand(checkpoint);
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/** What a checkpoint means. @throws ModelError when its configuration does not match its tensors. */
export function understand(checkpoint: Checkpoint): Model {
  const parts =
    checkpoint.kind === 'gguf'
      ? ggufParts(checkpoint)
      : checkpoint.kind === 'huggingface'
        ? folderParts(checkpoint)
        : bagParts(checkpoint);
  return {
    name: checkpoint.name,
    checkpoint,
    ...parts,
    tokenizer: () => tokenizerOf(checkpoint),
    close: () => checkpoint.close(),
  };
}

type Parts = Pick<Model, 'container' | 'tensors' | 'warnings'> & { spec?: ModelSpec };

function ggufParts(checkpoint: Checkpoint): Parts {
  let spec: ModelSpec;
  try {
    spec = readGgufSpec(checkpoint.gguf!, checkpoint.tensors);
  } catch (error) {
    if (!(error instanceof ModelError) || isKnown(checkpoint)) throw error;
    // Any GGUF file can be quantized and inspected; only running it needs the architecture.
    const tensors = [...checkpoint.tensors.values()].map((entry) =>
      plain(entry, { name: entry.name, role: ggufRole(entry.name), gguf: entry.name }),
    );
    return { container: 'gguf', tensors, warnings: [error.message] };
  }
  const { found, unused } = matchTensors(spec, checkpoint.tensors, 'gguf');
  const byName = new Map(modelTensors(spec).map((tensor) => [tensor.name, tensor]));
  const tensors = [...found].map(([name, fileName]) => {
    const entry = checkpoint.tensors.get(fileName)!;
    const expected = byName.get(name)!;
    return plain(entry, expected, true);
  });
  const extra = unused.map((name) =>
    plain(checkpoint.tensors.get(name)!, { name, gguf: name, role: name === 'rope_freqs.weight' ? 'rope' : 'other' }),
  );
  return { container: 'gguf', spec, tensors: inFileOrder(checkpoint, [...tensors, ...extra]), warnings: [] };
}

/** The architecture is one we run, so that an error in its metadata is an error of the file. */
function isKnown(checkpoint: Checkpoint): boolean {
  const name = checkpoint.gguf?.get('general.architecture')?.value;
  return ['llama', 'qwen2', 'qwen3'].includes(`${name}`);
}

function ggufRole(name: string): Role {
  if (/_norm\.weight$|^output_norm/.test(name)) return 'norm';
  if (name.endsWith('.bias')) return 'bias';
  const category = categoryOf(name);
  return category === 'attentionOutput' ? 'o' : category;
}

function folderParts(checkpoint: Checkpoint): Parts {
  const config = checkpoint.config!;
  const quantization = config['quantization_config'];
  const method = isObject(quantization) ? quantization['quant_method'] : undefined;
  if (method !== undefined && method !== 'fewbits') {
    throw new ModelError({
      what: `the model is quantized by ${String(method)}, a container this version cannot read`,
      where: checkpoint.name,
      next: 'use the original model, or its GGUF',
    });
  }
  const described = descriptorsOf(checkpoint);
  const merged = mergeFields(checkpoint, described);
  const spec = specOf(config);
  if ('problem' in spec) {
    const tensors = [...merged.values()].map((one) => one({ name: one.fileName, role: guessRole(one.fileName) }));
    return { container: described.size ? 'fewbits' : 'huggingface', tensors, warnings: [spec.problem] };
  }
  const { found, unused } = matchTensors(spec.spec, new Map([...merged].map(([name, one]) => [name, { shape: one.shape }])));
  const byName = new Map(modelTensors(spec.spec).map((tensor) => [tensor.name, tensor]));
  const tensors = [...found].map(([name, fileName]) => merged.get(fileName)!(byName.get(name)!));
  // Buffers that follow from the configuration and a copy of a tied output are not part of the model.
  const warnings = unused.map((name) => `${name} is not used by the model and is left out`);
  return {
    container: described.size ? 'fewbits' : 'huggingface',
    spec: spec.spec,
    tensors: inFileOrder(checkpoint, tensors),
    warnings,
  };
}

/** An architecture that is not known yet can still be quantized tensor by tensor. A known one must be right. */
function specOf(config: JsonObject): { spec: ModelSpec } | { problem: string } {
  try {
    return { spec: readSpec(config) };
  } catch (error) {
    if (error instanceof ModelError && error.problem.what.includes('unknown architecture')) return { problem: error.message };
    throw error;
  }
}

function bagParts(checkpoint: Checkpoint): Parts {
  const described = descriptorsOf(checkpoint);
  const tensors = [...mergeFields(checkpoint, described).values()].map((one) =>
    one({ name: one.fileName, role: guessRole(one.fileName) }),
  );
  return { container: described.size ? 'fewbits' : 'safetensors', tensors, warnings: [] };
}

/** A bag has no architecture, but names tell norms and biases. */
function guessRole(name: string): Role {
  if (/norm/i.test(name)) return 'norm';
  return name.endsWith('.bias') ? 'bias' : 'other';
}

function inFileOrder(checkpoint: Checkpoint, tensors: WeightTensor[]): WeightTensor[] {
  const order = new Map([...checkpoint.tensors.keys()].map((name, i) => [name, i]));
  const place = (tensor: WeightTensor) =>
    order.get(tensor.fileName) ?? order.get(`${tensor.fileName}.codes`) ?? order.get(`${tensor.fileName}.blocks`) ?? 0;
  return tensors.sort((a, b) => place(a) - place(b));
}

type Identity = Pick<ModelTensor, 'name' | 'role'> & Partial<ModelTensor>;

/** A tensor stored as itself, under a name of its own. Only GGUF files hold the rows of q and k interleaved. */
function plain(entry: TensorEntry, identity: Identity, interleaved = false): WeightTensor {
  const { rows, cols } = asMatrix(entry.shape);
  const heads = interleaved ? identity.permute : undefined;
  // A bias [n] is a column of n rows when its rows are reordered.
  const matrix = heads !== undefined && entry.shape.length === 1 ? { rows: cols, cols: 1 } : { rows, cols };
  const order = heads === undefined ? {} : { order: { heads, way: 'deinterleave' as const } };
  const stored: StoredTensor = { ...matrix, ...order, form: 'storage', type: entry.type, data: fieldOf(entry, matrix.rows) };
  return weight(entry.name, entry.shape, identity, stored, entry.type, entry.bytes);
}

function weight(
  fileName: string,
  shape: readonly number[],
  identity: Identity,
  stored: StoredTensor,
  type: string,
  bytes: number,
): WeightTensor {
  const { name, role, layer, gguf, permute } = identity;
  return {
    name,
    fileName,
    role,
    shape,
    stored,
    type,
    bytes,
    ...(layer !== undefined && { layer }),
    ...(gguf !== undefined && { gguf }),
    ...(permute !== undefined && { permute }),
  };
}

function fieldOf(entry: TensorEntry, rows: number, whole = false): Field {
  const field = { handle: entry.source.handle, offset: entry.offset, rowBytes: rows ? entry.bytes / rows : 0 };
  return whole ? { ...field, rowBytes: 0, whole: entry.bytes } : field;
}

function descriptorsOf(checkpoint: Checkpoint): Map<string, Described> {
  const text = checkpoint.metadata?.get(METADATA_KEY);
  if (text !== undefined) return readDescriptor(text, checkpoint.name);
  const quantization = checkpoint.config?.['quantization_config'];
  return isObject(quantization) && quantization['quant_method'] === 'fewbits'
    ? readDescriptor(JSON.stringify(quantization), checkpoint.name)
    : new Map();
}

/** Makes a WeightTensor once its identity is known. */
type Maker = ((identity: Identity) => WeightTensor) & { fileName: string; shape: readonly number[] };

/** Joins the fields of a quantized tensor; every other entry is a tensor of its own. */
function mergeFields(checkpoint: Checkpoint, described: ReadonlyMap<string, Described>): Map<string, Maker> {
  const made = new Map<string, Maker>();
  const owned = new Set<string>();
  const maker = (fileName: string, shape: readonly number[], make: (identity: Identity) => WeightTensor) =>
    made.set(fileName, Object.assign(make, { fileName, shape }));
  for (const [name, one] of described) {
    const { rows, cols } = asMatrix(one.shape);
    const keys = one.form === 'blocks' ? ['blocks'] : ['codes', 'scale', ...(one.tile.zero ? ['zero'] : [])];
    const entries = keys.map((key) => [key, entryOf(checkpoint, `${name}.${key}`)] as const);
    for (const [, entry] of entries) owned.add(entry.name);
    const bytes = entries.reduce((sum, [, entry]) => sum + entry.bytes, 0);
    if (one.form === 'blocks') {
      const data = fieldOf(entries[0]![1], rows);
      maker(name, one.shape, (identity) =>
        weight(name, one.shape, identity, { rows, cols, form: 'storage', type: one.type, data }, one.type, bytes),
      );
      continue;
    }
    const { tile } = one;
    const wholes: Record<string, boolean | undefined> = { scale: tile.scale.wholeTensor, zero: tile.zero?.wholeTensor };
    const fields = Object.fromEntries(entries.map(([key, entry]) => [key, fieldOf(entry, rows, wholes[key])]));
    const { group, wholeTensor } = tile.scale;
    const per = wholeTensor ? 'tensor' : group ? `g${group}` : 'channel';
    const label = `int${gridBits(tile)} ${per} ${tile.zero ? 'asym' : 'sym'}`;
    maker(name, one.shape, (identity) =>
      weight(name, one.shape, identity, { rows, cols, form: 'tile', tile, fields }, label, bytes),
    );
  }
  for (const entry of checkpoint.tensors.values())
    if (!owned.has(entry.name)) maker(entry.name, entry.shape, (identity) => plain(entry, identity));
  return made;
}

function entryOf(checkpoint: Checkpoint, name: string): TensorEntry {
  const entry = checkpoint.tensors.get(name);
  if (entry) return entry;
  throw new FormatError({
    what: 'a field of a quantized tensor is missing',
    where: `${checkpoint.name}: ${name}`,
    next: 'the file is damaged; make it again',
  });
}

/** Bits that the stored tensors take per value. */
export function bitsPerWeight(model: Pick<Model, 'tensors'>): number {
  const values = model.tensors.reduce((sum, tensor) => sum + elements(tensor.shape), 0);
  return values ? (8 * model.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0)) / values : 0;
}

async function tokenizerOf(checkpoint: Checkpoint): Promise<Tokenizer> {
  if (checkpoint.gguf) return tokenizerFromGguf(checkpoint.gguf);
  const json = async (name: string): Promise<JsonObject | undefined> => {
    const sidecar = checkpoint.sidecars.find((one) => one.name === name);
    if (!sidecar) return undefined;
    const text = new TextDecoder().decode(await read(sidecar.source, 0, sidecar.source.size));
    try {
      return JSON.parse(text) as JsonObject;
    } catch {
      throw new FormatError({ what: 'not JSON', where: `${checkpoint.name}/${name}` });
    }
  };
  const tokenizerJson = await json('tokenizer.json');
  if (!tokenizerJson) {
    throw new ModelError({
      what: 'no tokenizer.json, so text cannot be turned into tokens',
      where: checkpoint.name,
      next: 'put the model’s tokenizer.json beside its weights',
    });
  }
  const [tokenizerConfig, specialTokensMap, generationConfig] = await Promise.all(
    ['tokenizer_config.json', 'special_tokens_map.json', 'generation_config.json'].map(json),
  );
  return tokenizerFromHuggingFace({
    tokenizerJson,
    ...(tokenizerConfig && { tokenizerConfig }),
    ...(specialTokensMap && { specialTokensMap }),
    ...(generationConfig && { generationConfig }),
    ...(checkpoint.config && { config: checkpoint.config }),
  });
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
