/**
 * The metadata of a GGUF file from a Hugging Face model, key for key in the order of llama.cpp's convert_hf_to_gguf.py:
 * files are equal byte for byte only if it is kept.
 */
import type { GgufValue, JsonObject } from '../../checkpoint/types.ts';
import { architectureOf, ggufRopeFactors, type ModelSpec } from '../../model/index.ts';
import { entries } from '../../tokenizer/json.ts';
import { nameParts, sizeLabel } from './model-name.ts';
import { Sidecars } from './sidecars.ts';
import { type FileType, fileTypes } from './types.ts';
import { type Entry, vocabularyKeys } from './vocabulary.ts';

/** ggml's version of the block formats. */
const QUANTIZATION_VERSION = 2;

export interface MetadataQuestion {
  /** config.json */
  config: JsonObject;
  /** Bytes of the files beside the weights, by name: tokenizer.json, tokenizer.model, generation_config.json... */
  sidecars: ReadonlyMap<string, Uint8Array>;
  /** The folder's or repository's name. */
  name: string;
  fileType: FileType;
  /** All tensors of the file: their sizes give the size label. */
  tensors: readonly { shape: readonly number[] }[];
  /** Overrides the name of the pre-tokenizer that would be recognised. */
  pre?: string;
}

export interface GgufHeaderKeys {
  /** In file order. */
  metadata: Entry[];
  warnings: string[];
}

/**
 * @throws ModelError when the tokenizer does not fit the model or GGUF, FormatError when a sidecar is no JSON
 */
export function ggufMetadata(spec: ModelSpec, question: MetadataQuestion): GgufHeaderKeys {
  const { config } = question;
  const sidecars = new Sidecars(question.sidecars);
  const { architecture } = architectureOf(spec.architecture).gguf;
  const parameters = question.tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const vocabulary = vocabularyKeys({
    sidecars,
    config,
    vocab: spec.vocab,
    ...(question.pre !== undefined && { pre: question.pre }),
  });
  const prefix = sidecars.object('tokenizer_config.json')?.['add_prefix_space'];
  const present = new Set(vocabulary.entries.map(([key]) => key));
  return {
    metadata: [
      ['general.architecture', string(architecture)],
      ['general.type', string('model')],
      ...samplingKeys(sidecars.object('generation_config.json') ?? {}),
      ...nameKeys(question, parameters),
      ...hyperparameterKeys(spec, config).map(([key, value]): Entry => [`${architecture}.${key}`, value]),
      ['general.file_type', u32(fileTypes[question.fileType].ftype)],
      ...(architecture === 'llama' ? llamaKeys(spec) : []),
      ['general.quantization_version', u32(QUANTIZATION_VERSION)],
      ...(architecture === 'llama' && typeof prefix === 'boolean'
        ? [['tokenizer.ggml.add_space_prefix', bool(prefix)] as const]
        : []),
      ...vocabulary.entries,
      // Granite's small models and SmolLM share this vocabulary and want no BOS.
      ...(architecture === 'llama' && spec.vocab === 49152 && !present.has('tokenizer.ggml.add_bos_token')
        ? [['tokenizer.ggml.add_bos_token', bool(false)] as const]
        : []),
    ],
    warnings: [...vocabulary.warnings, ...ignored(spec)],
  };
}

/**
 * Metadata as llama-quantize leaves it: the keys of `source`, with the version and the file type moved to the end and the
 * keys of a split file gone.
 */
export function quantizedMetadata(source: Iterable<Entry>, fileType: FileType): Entry[] {
  const last: Entry[] = [
    ['general.quantization_version', u32(QUANTIZATION_VERSION)],
    ['general.file_type', u32(fileTypes[fileType].ftype)],
  ];
  const replaced = new Set([...last.map(([key]) => key), 'split.no', 'split.count', 'split.tensors.count']);
  return [...[...source].filter(([key]) => !replaced.has(key)), ...last];
}

export interface ExtraTensor {
  name: string;
  shape: readonly number[];
  values: Float32Array;
}

/** F32 tensors that a GGUF file has and a Hugging Face model has not. They come first in the converter's file. */
export function extraTensors(spec: ModelSpec): ExtraTensor[] {
  const factors = ggufRopeFactors(spec);
  return factors ? [{ name: 'rope_freqs.weight', shape: [factors.length], values: factors }] : [];
}

const samplers = [
  ['top_k', 'top_k', 'i32'],
  ['top_p', 'top_p', 'f32'],
  ['min_p', 'min_p', 'f32'],
  ['temperature', 'temp', 'f32'],
] as const;

/** The author's advice for sampling. */
function samplingKeys(generation: JsonObject): Entry[] {
  return samplers.flatMap(([from, to, type]): Entry[] => {
    const value = generation[from];
    return typeof value === 'number' && Number.isFinite(value)
      ? [[`general.sampling.${to}`, { type, value: type === 'f32' ? Math.fround(value) : Math.trunc(value) }]]
      : [];
  });
}

/** `_name_or_path` counts before the folder's name where it is a repository and no path on someone's disk. */
function nameKeys({ config, name }: MetadataQuestion, parameters: number): Entry[] {
  const path = config['_name_or_path'];
  const repository = typeof path === 'string' && path !== '' && path.split('/').length <= 2 ? nameParts(path, parameters) : {};
  const parts = { ...nameParts(name, parameters), ...repository };
  return (
    [
      ['general.name', parts.name],
      ['general.version', parts.version],
      ['general.organization', parts.organization],
      ['general.finetune', parts.finetune],
      ['general.basename', parts.basename],
      ['general.size_label', parts.sizeLabel ?? sizeLabel(parameters)],
    ] as const
  ).flatMap(([key, value]): Entry[] => (value ? [[key, string(value)]] : []));
}

/** Under the architecture's prefix. */
function hyperparameterKeys(spec: ModelSpec, config: JsonObject): Entry[] {
  // Of these configurations, transformers' Qwen2 alone has no `head_dim` of its own.
  const saysHeadDim = spec.architecture !== 'qwen2' || config['head_dim'] != null;
  return [
    ['block_count', u32(spec.layers)],
    ['context_length', u32(spec.context)],
    ['embedding_length', u32(spec.hidden)],
    ['feed_forward_length', u32(spec.intermediate)],
    ['attention.head_count', u32(spec.heads)],
    ['attention.head_count_kv', u32(spec.kvHeads)],
    ...ropeScalingKeys(spec, config),
    ['rope.freq_base', f32(spec.rope.base)],
    ['attention.layer_norm_rms_epsilon', f32(spec.normEpsilon)],
    ...(saysHeadDim
      ? ([
          ['attention.key_length', u32(spec.headDim)],
          ['attention.value_length', u32(spec.headDim)],
        ] as const)
      : []),
  ];
}

/** Llama 3's scaling is a tensor instead (`extraTensors`); GGUF has no key for the dynamic kind. */
function ropeScalingKeys({ rope: { scaling } }: ModelSpec, config: JsonObject): Entry[] {
  if (scaling.kind === 'linear') return [typeKey('linear'), ['rope.scaling.factor', f32(scaling.factor)]];
  if (scaling.kind !== 'yarn') return [];
  const said = entries(config['rope_parameters'] ?? config['rope_scaling']);
  const optional = (key: string, ...names: string[]): Entry[] => {
    const value = names.map((name) => said[name]).find((one) => typeof one === 'number');
    return typeof value === 'number' ? [[`rope.scaling.${key}`, f32(value)]] : [];
  };
  return [
    typeKey('yarn'),
    ['rope.scaling.factor', f32(scaling.factor)],
    ['rope.scaling.original_context_length', u32(scaling.originalContext)],
    ...optional('yarn_ext_factor', 'extrapolation_factor'),
    ...optional('yarn_attn_factor', 'attention_factor', 'attn_factor'),
    ...optional('yarn_beta_fast', 'beta_fast'),
    ...optional('yarn_beta_slow', 'beta_slow'),
  ];
}

function typeKey(kind: string): Entry {
  return ['rope.scaling.type', string(kind)];
}

function llamaKeys(spec: ModelSpec): Entry[] {
  return [
    ['llama.vocab_size', u32(spec.vocab)],
    ['llama.rope.dimension_count', u32(spec.headDim)],
  ];
}

/** What the model does and a GGUF file of its architecture cannot say. */
function ignored({ window, rope }: ModelSpec): string[] {
  return [
    ...(window.some((width) => width !== undefined)
      ? ['the model attends within a sliding window; llama.cpp attends to everything for this architecture']
      : []),
    ...(rope.scaling.kind === 'dynamic'
      ? ['GGUF has no key for dynamic rope scaling: past the original context llama.cpp computes otherwise']
      : []),
  ];
}

function string(value: string): GgufValue {
  return { type: 'string', value };
}

function bool(value: boolean): GgufValue {
  return { type: 'bool', value };
}

function u32(value: number): GgufValue {
  return { type: 'u32', value };
}

function f32(value: number): GgufValue {
  return { type: 'f32', value: Math.fround(value) };
}
