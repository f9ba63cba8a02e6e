/** ModelSpec -> config.json in the form of transformers 5: the inverse of `readSpec`, for folders made from GGUF files. */
import type { JsonObject } from '../checkpoint/types.ts';
import { ModelError } from '../errors.ts';
import { architectureOf } from './architectures/index.ts';
import { readSpec } from './read-config.ts';
import type { ModelSpec, RopeScaling } from './types.ts';

/**
 * The configuration that `readSpec` reads as `spec`. A GGUF file calls Mistral 'llama' and stores fractions as f32: the name that
 * has sliding windows and the shortest decimals that mean the same f32 are written.
 * @throws ModelError for what a configuration of the architecture cannot say, such as a bias of some projections only
 */
export function configOf(spec: ModelSpec): JsonObject {
  const slides = spec.window.some((width) => width !== undefined);
  const architecture = architectureOf(spec.architecture === 'llama' && slides ? 'mistral' : spec.architecture);
  const config: JsonObject = {
    architectures: [...architecture.classes],
    model_type: architecture.modelType,
    hidden_act: 'silu',
    hidden_size: spec.hidden,
    intermediate_size: spec.intermediate,
    num_hidden_layers: spec.layers,
    num_attention_heads: spec.heads,
    num_key_value_heads: spec.kvHeads,
    head_dim: spec.headDim,
    vocab_size: spec.vocab,
    max_position_embeddings: spec.context,
    rms_norm_eps: decimal(spec.normEpsilon),
    rope_parameters: { rope_theta: decimal(spec.rope.base), ...scalingFields(spec.rope.scaling) },
    tie_word_embeddings: spec.tied,
    ...('attention_bias' in architecture.defaults && { attention_bias: spec.bias.q }),
    ...('mlp_bias' in architecture.defaults && { mlp_bias: spec.bias.gate }),
    ...('sliding_window' in architecture.defaults && windowFields(spec, 'use_sliding_window' in architecture.defaults)),
  };
  refuseDifference(spec, readSpec(config));
  return config;
}

/** The shortest decimal with the same f32 value; numbers that are no f32 are left as they are. */
function decimal(x: number): number {
  if (Math.fround(x) !== x) return x;
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(x.toPrecision(digits));
    if (Math.fround(short) === x) return short;
  }
  return x;
}

function scalingFields(scaling: RopeScaling): JsonObject {
  switch (scaling.kind) {
    case 'none':
      return { rope_type: 'default' };
    case 'linear':
      return { rope_type: 'linear', factor: decimal(scaling.factor) };
    case 'dynamic':
      return {
        rope_type: 'dynamic',
        factor: decimal(scaling.factor),
        original_max_position_embeddings: scaling.originalContext,
      };
    case 'llama3':
      return {
        rope_type: 'llama3',
        factor: decimal(scaling.factor),
        low_freq_factor: decimal(scaling.lowFrequency),
        high_freq_factor: decimal(scaling.highFrequency),
        original_max_position_embeddings: scaling.originalContext,
      };
    case 'yarn':
      return {
        rope_type: 'yarn',
        factor: decimal(scaling.factor),
        original_max_position_embeddings: scaling.originalContext,
        beta_fast: decimal(scaling.betaFast),
        beta_slow: decimal(scaling.betaSlow),
        truncate: scaling.truncate,
        ...(scaling.attentionFactor !== undefined && { attention_factor: scaling.attentionFactor }),
      };
    case 'tensor':
      throw inexpressible('rope factors in a tensor', scaling.name);
  }
}

/** @param perLayer the architecture says of each layer whether it slides */
function windowFields({ window }: ModelSpec, perLayer: boolean): JsonObject {
  const width = window.find((one) => one !== undefined);
  if (!perLayer) return { sliding_window: width ?? null };
  if (width === undefined) return { use_sliding_window: false };
  return {
    use_sliding_window: true,
    sliding_window: width,
    layer_types: window.map((one) => (one === undefined ? 'full_attention' : 'sliding_attention')),
  };
}

function refuseDifference(spec: ModelSpec, read: ModelSpec): void {
  const same = (a: ModelSpec, b: ModelSpec, key: keyof ModelSpec) => comparable(a[key]) === comparable(b[key]);
  for (const key of Object.keys(spec) as (keyof ModelSpec)[])
    if (key !== 'architecture' && !same(spec, read, key)) throw inexpressible(key, spec[key]);
}

function comparable(value: unknown): string {
  return JSON.stringify(value, (_, one) => (typeof one === 'number' ? Math.fround(one) : one));
}

function inexpressible(what: string, value: unknown): ModelError {
  return new ModelError({
    what: `config.json has no words for this model: ${what}`,
    value,
    next: 'keep the GGUF file, or write a single .safetensors file',
  });
}
