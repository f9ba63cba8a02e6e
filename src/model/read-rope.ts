/** Rotary embedding of config.json -> Rope. */
import type { JsonObject } from '../checkpoint/types.ts';
import { ModelError } from '../errors.ts';
import { Fields, limits } from './fields.ts';
import { yarnScale } from './rope.ts';
import type { Rope, RopeScaling } from './types.ts';

type Reader = (fields: Fields, context: number) => RopeScaling;

const original = (fields: Fields, context: number) => fields.count('original_max_position_embeddings', limits.context, context);

/** By `rope_type` (transformers 4 also wrote `type`). */
const readers: Record<string, Reader> = {
  default: () => ({ kind: 'none' }),
  linear: (f) => ({ kind: 'linear', factor: f.positive('factor') }),
  dynamic: (f, context) => ({ kind: 'dynamic', factor: f.positive('factor'), originalContext: original(f, context) }),
  llama3: (f, context) => ({
    kind: 'llama3',
    factor: f.positive('factor'),
    lowFrequency: f.positive('low_freq_factor'),
    highFrequency: f.positive('high_freq_factor'),
    originalContext: original(f, context),
  }),
  yarn: (f, context) => ({
    kind: 'yarn',
    factor: f.positive('factor'),
    originalContext: original(f, context),
    betaFast: f.positive('beta_fast', 32),
    betaSlow: f.positive('beta_slow', 1),
    ...attentionFactor(f),
    truncate: f.flag('truncate', true),
  }),
};

/** @param context `max_position_embeddings`, which several kinds fall back on. */
export function readRope(config: JsonObject, headDim: number, context: number): Rope {
  const section = config['rope_parameters'] ? 'rope_parameters' : 'rope_scaling';
  const parameters = config[section] ?? {};
  const where = `config.json ${section}`;
  if (typeof parameters !== 'object' || Array.isArray(parameters))
    throw new ModelError({ what: 'must be an object', where, value: parameters });

  const fields = new Fields((key) => parameters[key], where);
  const base = fields.has('rope_theta')
    ? fields.positive('rope_theta')
    : new Fields((key) => config[key], 'config.json').positive('rope_theta');
  const type = fields.text('rope_type', fields.text('type', 'default'));
  const read = Object.hasOwn(readers, type) ? readers[type] : undefined;
  if (!read) throw new ModelError({ what: 'unknown kind of rope', where, value: type, limit: Object.keys(readers).join(', ') });
  return { dims: headDim, base, scaling: read(fields, context) };
}

/** YaRN scales cos and sin: given as it is, or by `mscale` and `mscale_all_dim` (DeepSeek's form). */
function attentionFactor(fields: Fields): { attentionFactor?: number } {
  if (fields.has('attention_factor')) return { attentionFactor: fields.positive('attention_factor') };
  if (!fields.has('mscale') || !fields.has('mscale_all_dim')) return {};
  const scale = (mscale: string) => yarnScale(fields.positive('factor'), fields.positive(mscale));
  return { attentionFactor: scale('mscale') / scale('mscale_all_dim') };
}
