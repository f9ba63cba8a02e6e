import { LimitError, ModelError } from '../errors.ts';
import { read } from '../io/range.ts';
import type { ByteSource } from '../io/types.ts';
import type { Folder } from './folder.ts';
import { decodeText, parseJsonObject } from './json.ts';
import { readSafetensors } from './safetensors/read.ts';
import { readShardIndex, SHARD_INDEX, SINGLE_FILE } from './safetensors/shards.ts';
import type { Checkpoint, JsonObject, Sidecar, TensorEntry } from './types.ts';

/** Bytes of a JSON file that is parsed here: an index of 100,000 tensors has ten million (CWE-770). */
const MAX_JSON_BYTES = 2 ** 26;
/** Shards of one model: the largest published models have under 200. Each is an open file (CWE-770). */
const MAX_SHARDS = 1000;

const CONFIG = 'config.json';

/**
 * Files in which older tools describe a quantization beside config.json. They are sidecars for whoever reads the container; a
 * writer does not copy them, since its output is quantized in another way.
 */
export const quantizationConfigNames: readonly string[] = ['quantize_config.json', 'quant_config.json'];

/** Files that go with a model, by exact name. A web server, which cannot be listed, is asked for these. */
const sidecarNames: readonly string[] = [
  'tokenizer.json',
  'tokenizer_config.json',
  'tokenizer.model',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'vocab.txt',
  'spiece.model',
  'generation_config.json',
  'chat_template.jinja',
  'chat_template.json',
  'preprocessor_config.json',
  'processor_config.json',
  'README.md',
  'LICENSE',
  ...quantizationConfigNames,
];
/** More of them where the folder can be listed. */
const sidecarPatterns: readonly RegExp[] = [
  /^chat_template\b/,
  /^(pre)?processor_config\.json$|^video_preprocessor_config\.json$/,
  /^(LICENSE|LICENCE|NOTICE|COPYING|USE_POLICY)\b/i,
  /\.md$/i,
  /\.tiktoken$/,
  /^tokenizer\.model\.v\d+$/,
  /^tekken\.json$/,
];
/** Weights in formats that run code when they are read (CWE-502). */
const pickled = /\.(bin|pt|pth|ckpt|pkl)$/;

/**
 * Opens a Hugging Face folder: config.json, model.safetensors or an index with its shards, and the files that go with them.
 * @throws ModelError when the folder is not such a model, FormatError when one of its files is damaged.
 */
export async function openHuggingFace(folder: Folder): Promise<Checkpoint> {
  const names = await folder.names([CONFIG, SINGLE_FILE, SHARD_INDEX, ...sidecarNames]);
  if (!names.includes(CONFIG)) throw notAModel(folder.name, names);
  const sources: ByteSource[] = [];
  const open = async (name: string, small = true) => {
    const source = await folder.open(name, small);
    sources.push(source);
    return source;
  };
  const close = async () => {
    for (const source of sources) await source.close();
  };
  try {
    const config = await readConfig(await open(CONFIG));
    const { tensors, metadata } = await openWeights(folder.name, names, open);
    const sidecars: Sidecar[] = [];
    for (const name of names) if (isSidecar(name)) sidecars.push({ name, source: await open(name) });
    return { kind: 'huggingface', name: folder.name, tensors, config, ...(metadata && { metadata }), sidecars, close };
  } catch (error) {
    await close();
    throw error;
  }
}

export function isSidecar(name: string): boolean {
  return sidecarNames.includes(name) || sidecarPatterns.some((pattern) => pattern.test(name));
}

type Open = (name: string, small?: boolean) => Promise<ByteSource>;
type Weights = { tensors: ReadonlyMap<string, TensorEntry>; metadata?: ReadonlyMap<string, string> };

async function openWeights(where: string, names: readonly string[], open: Open): Promise<Weights> {
  if (names.includes(SINGLE_FILE)) return readSafetensors(await open(SINGLE_FILE, false));
  if (names.includes(SHARD_INDEX)) return { tensors: await openShards(await open(SHARD_INDEX), open) };
  const [only, ...others] = names.filter((name) => name.endsWith('.safetensors'));
  if (only !== undefined && others.length === 0) return readSafetensors(await open(only, false));
  throw noWeights(where, names);
}

async function openShards(index: ByteSource, open: Open): Promise<Map<string, TensorEntry>> {
  const files = readShardIndex(await readText(index), index.name);
  const shards = [...new Set(files.values())].sort();
  if (shards.length > MAX_SHARDS)
    throw new LimitError({ what: 'too many shards', where: index.name, value: shards.length, limit: MAX_SHARDS });
  const tensors = new Map<string, TensorEntry>();
  for (const shard of shards) {
    const file = await readSafetensors(await open(shard, false));
    for (const [name, entry] of file.tensors) {
      // A tensor that the index leaves out is read too; one that two shards hold is ambiguous.
      if (tensors.has(name))
        throw new ModelError({ what: 'two shards hold this tensor', where: `${entry.source.name}: ${name}` });
      tensors.set(name, entry);
    }
  }
  for (const [name, file] of files)
    if (!tensors.has(name))
      throw new ModelError({ what: `shard ${file} lacks a tensor of the index`, where: `${index.name}: ${name}` });
  return tensors;
}

async function readConfig(source: ByteSource): Promise<JsonObject> {
  return parseJsonObject(await readText(source), source.name);
}

async function readText(source: ByteSource): Promise<string> {
  if (source.size > MAX_JSON_BYTES)
    throw new LimitError({ what: 'JSON file is too large', where: source.name, value: source.size, limit: MAX_JSON_BYTES });
  return decodeText(await read(source, 0, source.size), source.name);
}

function notAModel(where: string, names: readonly string[]): ModelError {
  const gguf = names.find((name) => name.endsWith('.gguf'));
  const bag = names.find((name) => name.endsWith('.safetensors'));
  const file = gguf ?? bag;
  return new ModelError({
    what: `no ${CONFIG}, so this is not a Hugging Face model folder`,
    where,
    next: file ? `give the file itself: ${file}` : 'give a model folder, a .gguf or a .safetensors file',
  });
}

function noWeights(where: string, names: readonly string[]): ModelError {
  const pickle = names.find((name) => pickled.test(name));
  const several = names.filter((name) => name.endsWith('.safetensors'));
  if (several.length > 1)
    return new ModelError({
      what: `several .safetensors files and no ${SHARD_INDEX}`,
      where,
      value: several,
      next: 'fetch the index too',
    });
  return new ModelError({
    what: pickle
      ? `the weights are a pickle (${pickle}): a pickle is never read, because reading one runs the code in it`
      : `no ${SINGLE_FILE} and no ${SHARD_INDEX}`,
    where,
    next: pickle ? 'use the safetensors version of the model' : 'fetch the weights',
  });
}
