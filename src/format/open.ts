/**
 * From raw bytes with names to a model that is understood: architecture, roles, how each tensor is decoded, tokenizer.
 */
import { type Location, openCheckpoint, parseJsonObject } from '../checkpoint/index.ts';
import type { Checkpoint, JsonObject } from '../checkpoint/types.ts';
import { FormatError, ModelError } from '../errors.ts';
import { read } from '../io/index.ts';
import { architectures, type ModelSpec, matchTensors, modelTensors, type Role, readGgufSpec, readSpec } from '../model/index.ts';
import { elements } from '../tensor/tensor.ts';
import { type Tokenizer, tokenizerFromGguf, tokenizerFromHuggingFace } from '../tokenizer/index.ts';
import { joinCompressedTensors } from './compressed-tensors/unpack.ts';
import { describedTensors, descriptorOf, joinFields, quantizationConfig } from './fewbits/fields.ts';
import { checkOnline } from './fewbits/online.ts';
import { ggufFolderFiles } from './gguf/folder-files.ts';
import { categoryOf } from './gguf/type-rules.ts';
import { joinGptq, withoutZeroBiases } from './gptq/unpack.ts';
import type { ContainerName, Model, WeightTensor } from './types.ts';
import { type JoinedTensors, plainWeight } from './weight.ts';

/**
 * Opens MODEL: a Hugging Face folder, a .gguf or .safetensors file, a quantized output of ours, or a URL of any of these.
 * Only headers are read. @throws FileError, FormatError, ModelError
 */
export async function open(location: Location): Promise<Model> {
  const checkpoint = await openCheckpoint(location);
  try {
    return await understand(checkpoint);
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/** What a checkpoint means. @throws ModelError when its configuration does not match its tensors. */
export async function understand(checkpoint: Checkpoint): Promise<Model> {
  const parts = await { gguf: ggufParts, huggingface: folderParts, safetensors: bagParts }[checkpoint.kind](checkpoint);
  return {
    name: checkpoint.name,
    checkpoint,
    ...parts,
    tokenizer: () => tokenizerOf(checkpoint),
    close: () => checkpoint.close(),
  };
}

type Parts = Pick<Model, 'container' | 'tensors' | 'warnings' | 'spec' | 'folderFiles' | 'online' | 'kv'>;

async function ggufParts(checkpoint: Checkpoint): Promise<Parts> {
  let spec: ModelSpec;
  try {
    spec = readGgufSpec(checkpoint.gguf!, checkpoint.tensors);
  } catch (error) {
    if (!(error instanceof ModelError) || isKnown(checkpoint)) throw error;
    // Any GGUF file can be quantized and inspected; only running it needs the architecture.
    const tensors = [...checkpoint.tensors.values()].map((entry) =>
      plainWeight(entry, { name: entry.name, role: ggufRole(entry.name), gguf: entry.name }),
    );
    return { container: 'gguf', tensors, warnings: [error.message] };
  }
  const { found, unused } = matchTensors(spec, checkpoint.tensors, 'gguf');
  const byName = new Map(modelTensors(spec).map((tensor) => [tensor.name, tensor]));
  const tensors = [...found].map(([name, fileName]) => {
    const entry = checkpoint.tensors.get(fileName)!;
    const expected = byName.get(name)!;
    return plainWeight(entry, expected, true);
  });
  const extra = unused.map((name) =>
    plainWeight(checkpoint.tensors.get(name)!, { name, gguf: name, role: name === 'rope_freqs.weight' ? 'rope' : 'other' }),
  );
  return {
    container: 'gguf',
    spec,
    tensors: inFileOrder(checkpoint, [...tensors, ...extra]),
    folderFiles: () => ggufFolderFiles(checkpoint, spec),
    warnings: [],
  };
}

/** The architecture is one we run, so that an error in its metadata is an error of the file. */
function isKnown(checkpoint: Checkpoint): boolean {
  const name = checkpoint.gguf?.get('general.architecture')?.value;
  return architectures.some((architecture) => architecture.gguf.architecture === name);
}

function ggufRole(name: string): Role {
  if (/_norm\.weight$|^output_norm/.test(name)) return 'norm';
  if (name.endsWith('.bias')) return 'bias';
  const category = categoryOf(name);
  return category === 'attentionOutput' ? 'o' : category;
}

/** Joins the fields of quantized tensors; every other entry is a tensor of its own. */
interface FolderReader {
  container: ContainerName;
  join(checkpoint: Checkpoint, quantization: JsonObject): Promise<JoinedTensors>;
}

/** By `quant_method` of config.json. */
const readers: Readonly<Record<string, FolderReader>> = {
  fewbits: {
    container: 'fewbits',
    join: async (checkpoint) => ({ tensors: await joinFields(checkpoint, describedTensors(checkpoint)), warnings: [] }),
  },
  gptq: { container: 'gptq', join: joinGptq },
  'compressed-tensors': { container: 'compressed-tensors', join: joinCompressedTensors },
};

async function folderParts(checkpoint: Checkpoint): Promise<Parts> {
  const quantization = await quantizationOf(checkpoint);
  const method = quantization?.['quant_method'];
  const reader = typeof method === 'string' && Object.hasOwn(readers, method) ? readers[method] : undefined;
  if (method !== undefined && !reader) {
    throw new ModelError({
      what: `the model is quantized by ${String(method)}, a container this version cannot read`,
      where: checkpoint.name,
      next: 'use the original model, or its GGUF',
    });
  }
  const joined = await (reader ?? readers['fewbits']!).join(checkpoint, quantization ?? {});
  const {
    tensors: described,
    online,
    kv,
  } = reader && reader.container !== 'fewbits' ? { tensors: new Map() } : descriptorOf(checkpoint);
  const isQuantized = reader !== undefined || described.size > 0;
  const container = isQuantized ? (reader?.container ?? 'fewbits') : 'huggingface';
  const spec = specOf(checkpoint.config!);
  if ('problem' in spec) {
    const tensors = [...joined.tensors.values()].map((one) =>
      one.named({ name: one.fileName, role: guessRole(one.fileName, one.shape) }),
    );
    return { container, tensors: inFileOrder(checkpoint, tensors), warnings: [...joined.warnings, spec.problem] };
  }
  const expected = modelTensors(spec.spec);
  const byName = new Map(expected.map((tensor) => [tensor.name, tensor]));
  const held = container === 'gptq' ? await withoutZeroBiases(checkpoint, joined.tensors, byName) : joined.tensors;
  const { found, unused } = matchTensors(spec.spec, held);
  const tensors = [...found].map(([name, fileName]) => held.get(fileName)!.named(byName.get(name)!));
  if (online) checkOnline(online, spec.spec, tensors, checkpoint.name);
  // Buffers that follow from the configuration and a copy of a tied output are not part of the model.
  const warnings = unused.map((name) => `${name} is not used by the model and is left out`);
  return {
    container,
    spec: spec.spec,
    tensors: inFileOrder(checkpoint, tensors),
    ...(online && { online }),
    ...(kv && { kv }),
    warnings: [...joined.warnings, ...warnings],
  };
}

/** Bytes of a configuration in a file of its own. */
const MAX_CONFIG_BYTES = 2 ** 20;

/** `quantization_config` of config.json; AutoGPTQ before 2024 wrote quantize_config.json alone, without naming itself. */
async function quantizationOf(checkpoint: Checkpoint): Promise<JsonObject | undefined> {
  const inside = quantizationConfig(checkpoint);
  if (inside) return inside;
  const sidecar = checkpoint.sidecars.find(({ name }) => name === 'quantize_config.json');
  const isGptq = [...checkpoint.tensors.keys()].some((name) => name.endsWith('.qweight'));
  if (!sidecar || !isGptq || sidecar.source.size > MAX_CONFIG_BYTES) return undefined;
  const text = new TextDecoder().decode(await read(sidecar.source, 0, sidecar.source.size));
  return { quant_method: 'gptq', ...parseJsonObject(text, sidecar.name) };
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

async function bagParts(checkpoint: Checkpoint): Promise<Parts> {
  const described = describedTensors(checkpoint);
  const tensors = [...(await joinFields(checkpoint, described)).values()].map((one) =>
    one.named({ name: one.fileName, role: guessRole(one.fileName, one.shape) }),
  );
  return { container: described.size ? 'fewbits' : 'safetensors', tensors: inFileOrder(checkpoint, tensors), warnings: [] };
}

/** A bag has no architecture, but names tell norms and biases; a matrix in a module called norm is a matrix. */
function guessRole(name: string, shape: readonly number[]): Role {
  if (shape.length > 1) return 'other';
  return /norm/i.test(name) ? 'norm' : name.endsWith('.bias') ? 'bias' : 'other';
}

function inFileOrder(checkpoint: Checkpoint, tensors: WeightTensor[]): WeightTensor[] {
  const order = new Map([...checkpoint.tensors.keys()].map((name, i) => [name, i]));
  const place = ({ fileName }: WeightTensor) => {
    const stem = fileName.replace(/\.weight$/, '');
    const names = [fileName, `${fileName}.codes`, `${fileName}.blocks`, `${stem}.qweight`, `${fileName}_packed`];
    return names.map((name) => order.get(name)).find((at) => at !== undefined) ?? 0;
  };
  return tensors.sort((a, b) => place(a) - place(b));
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
