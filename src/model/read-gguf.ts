/** GGUF metadata -> ModelSpec. What the metadata leaves open, the tensors' names and shapes decide. */
import type { GgufMetadata } from '../checkpoint/types.ts';
import { ModelError } from '../errors.ts';
import { architectures, unknownArchitecture } from './architectures/index.ts';
import { Fields, limits } from './fields.ts';
import { checkHeads } from './read-config.ts';
import { yarnScale } from './rope.ts';
import type { ModelSpec, Rope, RopeScaling } from './types.ts';

/** Name -> shape, outermost first. A TensorEntry will do. */
export type Shapes = ReadonlyMap<string, { readonly shape: readonly number[] }>;

const where = 'GGUF metadata';

/**
 * Reads what a GGUF file says about its model. A Mistral file reads as 'llama': llama.cpp keeps no difference.
 * @throws ModelError for an unknown architecture or a missing or wrong key.
 */
export function readGgufSpec(metadata: GgufMetadata, tensors: Shapes): ModelSpec {
  const name = metadata.get('general.architecture')?.value;
  const architecture =
    architectures.find((a) => a.gguf.architecture === name) ?? unknownArchitecture(name, 'general.architecture');
  const prefix = `${architecture.gguf.architecture}.`;
  const fields = new Fields((key) => single(metadata, prefix + key), `${where} ${prefix}*`);

  const hidden = fields.count('embedding_length', limits.width);
  const heads = fields.count('attention.head_count', limits.heads);
  const layers = fields.count('block_count', limits.layers);
  const headDim = fields.count('attention.key_length', limits.headDim, hidden / heads);
  const context = fields.count('context_length', limits.context);
  const bias = (tensor: string) => tensors.has(`blk.0.${tensor}.bias`);
  const spec: ModelSpec = {
    architecture: architecture.name,
    hidden,
    intermediate: fields.count('feed_forward_length', limits.width),
    layers,
    heads,
    kvHeads: fields.count('attention.head_count_kv', limits.heads, heads),
    headDim,
    vocab: readVocab(metadata, fields, tensors),
    context,
    normEpsilon: fields.positive('attention.layer_norm_rms_epsilon'),
    rope: readRope(fields, headDim, context, tensors),
    tied: !tensors.has('output.weight'),
    bias: {
      q: bias('attn_q'),
      k: bias('attn_k'),
      v: bias('attn_v'),
      o: bias('attn_output'),
      gate: bias('ffn_gate'),
      up: bias('ffn_up'),
      down: bias('ffn_down'),
    },
    qkNorm: architecture.qkNorm,
    window: readWindows(metadata, prefix, fields, layers),
  };
  if (fields.count('attention.value_length', limits.headDim, headDim) !== headDim)
    throw new ModelError({ what: 'keys and values of different length are not supported', where, value: prefix });
  checkHeads(spec, where);
  return spec;
}

/** Some writers store one value a layer; they can be used when all are equal. */
function single(metadata: GgufMetadata, key: string): unknown {
  const found = metadata.get(key);
  if (found?.type !== 'array') return found?.value;
  const [first] = found.value;
  if (found.value.some((value) => value !== first))
    throw new ModelError({ what: `'${key}' differs between layers, which is not supported`, where });
  return first;
}

/** The embedding's rows are the truth; files without one (a bag) may still say. */
function readVocab(metadata: GgufMetadata, fields: Fields, tensors: Shapes): number {
  const rows = tensors.get('token_embd.weight')?.shape[0];
  const tokens = metadata.get('tokenizer.ggml.tokens');
  return rows ?? fields.count('vocab_size', limits.vocab, tokens?.type === 'array' ? tokens.value.length : undefined);
}

type Reader = (fields: Fields, context: number) => RopeScaling;

const readers: Record<string, Reader> = {
  none: () => ({ kind: 'none' }),
  linear: (f) => ({ kind: 'linear', factor: f.positive('rope.scaling.factor') }),
  yarn: (f, context) => ({
    kind: 'yarn',
    factor: f.positive('rope.scaling.factor'),
    originalContext: f.count('rope.scaling.original_context_length', limits.context, context),
    betaFast: f.positive('rope.scaling.yarn_beta_fast', 32),
    betaSlow: f.positive('rope.scaling.yarn_beta_slow', 1),
    ...(f.has('rope.scaling.attn_factor')
      ? { attentionFactor: f.positive('rope.scaling.attn_factor') * yarnScale(f.positive('rope.scaling.factor')) }
      : {}),
    truncate: true,
  }),
};

function readRope(fields: Fields, headDim: number, context: number, tensors: Shapes): Rope {
  const dims = fields.count('rope.dimension_count', limits.headDim, headDim);
  if (dims !== headDim)
    throw new ModelError({ what: 'a rotation of a part of each head is not supported', where, value: dims, limit: headDim });
  const base = fields.positive('rope.freq_base', 10000);
  if (tensors.has('rope_freqs.weight')) return { dims, base, scaling: { kind: 'tensor', name: 'rope_freqs.weight' } };

  // Before rope.scaling.* there was one key for linear scaling.
  const old = fields.has('rope.scale_linear') ? fields.positive('rope.scale_linear') : 1;
  const type = fields.text('rope.scaling.type', 'none');
  if (type === 'none' && old !== 1) return { dims, base, scaling: { kind: 'linear', factor: old } };
  const read = Object.hasOwn(readers, type) ? readers[type] : undefined;
  if (!read) throw new ModelError({ what: 'unknown kind of rope', where, value: type, limit: Object.keys(readers).join(', ') });
  return { dims, base, scaling: read(fields, context) };
}

/** A width for all layers, or for those that `sliding_window_pattern` names. */
function readWindows(metadata: GgufMetadata, prefix: string, fields: Fields, layers: number): (number | undefined)[] {
  const window = fields.has('attention.sliding_window') ? fields.count('attention.sliding_window', limits.context) : undefined;
  const pattern = metadata.get(`${prefix}attention.sliding_window_pattern`);
  const slides = (i: number) => pattern?.type !== 'array' || pattern.value[i] === true;
  return Array.from({ length: layers }, (_, i) => (slides(i) ? window : undefined));
}
