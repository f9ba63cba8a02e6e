/** config.json -> ModelSpec, in the form of transformers 5 (rope_parameters) and of transformers 4 (rope_theta, rope_scaling). */
import type { Json, JsonObject } from '../checkpoint/types.ts';
import { ModelError } from '../errors.ts';
import type { Architecture } from './architecture.ts';
import { architectures, unknownArchitecture } from './architectures/index.ts';
import { Fields, limits } from './fields.ts';
import { readRope } from './read-rope.ts';
import type { ModelSpec } from './types.ts';

const where = 'config.json';

/**
 * Reads a Hugging Face configuration.
 * @throws ModelError for an unknown architecture, or naming the field that is missing, wrong or unsupported.
 */
export function readSpec(config: JsonObject): ModelSpec {
  const architecture = architectureOfConfig(config);
  const full = withDefaults(architecture, config);
  const fields = new Fields((key) => full[key], where);
  for (const [key, value] of Object.entries(architecture.defaults)) if (typeof value === 'boolean') fields.flag(key, value);
  refuseOtherMath(full);

  const hidden = fields.count('hidden_size', limits.width);
  const heads = fields.count('num_attention_heads', limits.heads);
  const layers = fields.count('num_hidden_layers', limits.layers);
  const headDim = fields.count('head_dim', limits.headDim, hidden / heads);
  const context = fields.count('max_position_embeddings', limits.context);
  const spec: ModelSpec = {
    architecture: architecture.name,
    hidden,
    intermediate: fields.count('intermediate_size', limits.width),
    layers,
    heads,
    kvHeads: fields.count('num_key_value_heads', limits.heads, heads),
    headDim,
    vocab: fields.count('vocab_size', limits.vocab),
    context,
    normEpsilon: fields.positive('rms_norm_eps'),
    rope: readRope(full, headDim, context),
    tied: fields.flag('tie_word_embeddings', false),
    bias: architecture.bias(full),
    qkNorm: architecture.qkNorm,
    window: readWindows(architecture, full, fields, layers),
  };
  checkHeads(spec, where);
  return spec;
}

/** Facts that hold between numbers, whatever file they come from. */
export function checkHeads({ heads, kvHeads, headDim }: ModelSpec, file: string): void {
  if (heads % kvHeads !== 0)
    throw new ModelError({ what: `${heads} attention heads cannot share ${kvHeads} key/value heads evenly`, where: file });
  if (headDim % 2 !== 0)
    throw new ModelError({ what: 'the head dimension must be even to be rotated', where: file, value: headDim });
}

function architectureOfConfig(config: JsonObject): Architecture {
  const { model_type: type, architectures: classes } = config;
  const byType = architectures.find((a) => a.modelType === type);
  const byClass = architectures.find((a) => Array.isArray(classes) && a.classes.some((name) => classes.includes(name)));
  const found = type === undefined ? byClass : byType;
  return found ?? unknownArchitecture(type ?? classes ?? undefined, `${where} model_type`);
}

/** Fields that are absent get the class's default; `null` is a value of its own (Mistral's `sliding_window: null` = no window). */
function withDefaults(architecture: Architecture, config: JsonObject): JsonObject {
  return { ...architecture.defaults, ...config };
}

/** Settings that would change what the model computes in ways this graph does not have. */
function refuseOtherMath({ hidden_act: activation, partial_rotary_factor: partial }: JsonObject): void {
  const refuse = (field: string, value: Json, limit: Json) => {
    throw new ModelError({ what: `'${field}' is not supported for this architecture`, where, value, limit });
  };
  if (activation !== undefined && activation !== 'silu' && activation !== 'swish') refuse('hidden_act', activation, 'silu');
  if (partial !== undefined && partial !== null && partial !== 1) refuse('partial_rotary_factor', partial, 1);
}

function readWindows(architecture: Architecture, config: JsonObject, fields: Fields, layers: number): (number | undefined)[] {
  const types = config['layer_types'];
  if (types !== undefined && types !== null && !(Array.isArray(types) && types.length === layers))
    throw new ModelError({ what: `'layer_types' must name the kind of each of the ${layers} layers`, where, value: types });
  if (!fields.has('sliding_window')) return new Array<undefined>(layers).fill(undefined);
  const window = fields.count('sliding_window', limits.context);
  if (fields.has('max_window_layers') && config['max_window_layers'] !== 0) fields.count('max_window_layers', limits.context);
  return Array.from({ length: layers }, (_, i) => (architecture.slides(config, i) ? window : undefined));
}
