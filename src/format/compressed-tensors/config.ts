/** `quantization_config` of config.json, as compressed-tensors 0.20 and llm-compressor 0.14 write it, and as older versions did. */
import * as z from 'zod';
import type { JsonObject } from '../../checkpoint/types.ts';
import { ModelError } from '../../errors.ts';
import type { ObserverName } from '../../quantize/observer/types.ts';
import type { TileForm } from '../../quantized/form.ts';
import type { ActivationScheme } from '../../quantized/types.ts';
import type { Linear } from '../linears.ts';
import type { InputNames } from '../static-inputs.ts';
import { gridBits } from '../tile-fields.ts';

/** The version whose layout this is. */
const VERSION = '0.20.0';

const groupSize = z.int().refine((size) => size === -1 || size > 0, { message: 'not a group size' });

const quantizationArgs = z.looseObject({
  num_bits: z.int().min(1).max(8),
  type: z.string().default('int'),
  symmetric: z.boolean().default(true),
  strategy: z.string().nullish(),
  group_size: groupSize.nullish(),
  dynamic: z.union([z.boolean(), z.string()]).default(false),
  actorder: z.union([z.string(), z.boolean()]).nullish(),
});
type QuantizationArgs = z.output<typeof quantizationArgs>;

export const configSchema = z.looseObject({
  format: z.string().nullish(),
  config_groups: z.record(
    z.string(),
    z.looseObject({
      format: z.string().nullish(),
      weights: quantizationArgs.nullish(),
      input_activations: quantizationArgs.nullish(),
      output_activations: quantizationArgs.nullish(),
    }),
  ),
  kv_cache_scheme: z.looseObject({}).nullish(),
  transform_config: z.looseObject({}).nullish(),
  sparsity_config: z.looseObject({ format: z.string().optional() }).nullish(),
});

type Config = z.output<typeof configSchema>;

/** What a group says of its linears. */
export interface WeightGroup {
  packed: boolean;
  bits: number;
  symmetric: boolean;
  /** Inputs that share a scale; 0 = the row. */
  group: number;
  wholeTensor: boolean;
  order: boolean;
  input?: ActivationScheme;
}

const formats: Readonly<Record<string, { packed: boolean }>> = {
  'pack-quantized': { packed: true },
  'int-quantized': { packed: false },
  'naive-quantized': { packed: false },
};

/** @throws ModelError for what is not read, with its name: floats, sparsity, caches, transforms, static activations by anything but the tensor */
export function weightGroups(config: Config, where: string): WeightGroup[] {
  if (config.kv_cache_scheme) throw unread('kv_cache_scheme', 'a quantized key/value cache', where);
  if (Object.keys(config.transform_config ?? {}).length > 0) throw unread('transform_config', 'rotations at run time', where);
  const sparsity = config.sparsity_config?.format;
  if (sparsity !== undefined && sparsity !== 'dense') throw unread('sparsity_config', sparsity, where);
  return Object.entries(config.config_groups).map(
    ([name, { weights, input_activations: input, output_activations, ...group }]) => {
      const at = `config_groups.${name}`;
      const format = group.format ?? config.format ?? 'pack-quantized';
      const known = Object.hasOwn(formats, format) ? formats[format] : undefined;
      if (!known || !weights || weights.type !== 'int') throw unread(at, format, where);
      if (output_activations) throw unread(`${at}.output_activations`, 'quantized outputs', where);
      return { ...known, ...sharing(weights, `${at}.weights`, where), ...(input && { input: activation(input, at, where) }) };
    },
  );
}

function sharing(args: QuantizationArgs, at: string, where: string): Omit<WeightGroup, 'packed' | 'input'> {
  const { num_bits: bits, symmetric, group_size: size, actorder } = args;
  const strategy = args.strategy ?? (size === undefined || size === null ? 'tensor' : size === -1 ? 'channel' : 'group');
  if (!['tensor', 'channel', 'group'].includes(strategy)) throw unread(`${at}.strategy`, strategy, where);
  const group = strategy === 'group' ? (size ?? 0) : 0;
  if (strategy === 'group' && group < 1) throw unread(`${at}.group_size`, String(size), where);
  return { bits, symmetric, group, wholeTensor: strategy === 'tensor', order: actorder === 'group' };
}

function activation(args: QuantizationArgs, at: string, where: string): ActivationScheme {
  const { num_bits: bits, symmetric, dynamic, type, strategy } = args;
  if (type !== 'int') throw unread(`${at}.input_activations`, `${type} activations`, where);
  if (dynamic === false && (strategy ?? 'tensor') === 'tensor') return { bits, symmetric, dynamic, per: 'tensor' };
  if (dynamic !== true) throw unread(`${at}.input_activations`, `${dynamic || 'static'} activations by ${strategy}`, where);
  if (strategy !== 'token' && strategy !== 'tensor') throw unread(`${at}.input_activations`, `activations by ${strategy}`, where);
  return { bits, symmetric, dynamic, per: strategy };
}

/** Where the levels of static activations lie. */
export function inputNames(module: string): InputNames {
  return { scale: `${module}.input_scale`, zero: `${module}.input_zero_point` };
}

/** What llm-compressor calls observers that it has: its minmax is a moving average. */
const observerNames: Partial<Record<ObserverName, string>> = { minmax: 'static_minmax', 'moving-average': 'minmax' };

function unread(at: string, what: string, where: string): ModelError {
  return new ModelError({
    what: `this version does not read ${what} of compressed-tensors (${at})`,
    where,
    limit: Object.keys(formats).join(', '),
    next: 'use the original model, or its GGUF',
  });
}

/** @param ignore modules of linears that stay */
export function compressedTensorsConfig(linears: readonly Linear[], ignore: readonly string[]): JsonObject {
  const groups = new Map<string, { group: JsonObject; format: string; modules: string[] }>();
  for (const linear of linears) {
    const { format, ...group } = groupOf(linear);
    const key = JSON.stringify([format, group]);
    const known = groups.get(key) ?? { group, format, modules: [] };
    known.modules.push(linear.module);
    groups.set(key, known);
  }
  const all = [...groups.values()];
  const config_groups = Object.fromEntries(
    all.map(({ group, format, modules }, i) => [
      `group_${i}`,
      { format, output_activations: null, targets: all.length === 1 ? ['Linear'] : modules, ...group },
    ]),
  );
  const used = [...new Set(all.map(({ format }) => format))];
  return {
    config_groups,
    format: used.length === 1 ? used[0]! : 'mixed-precision',
    global_compression_ratio: null,
    ignore: [...ignore],
    kv_cache_scheme: null,
    moe_sparsity_config: null,
    quant_method: 'compressed-tensors',
    quantization_status: 'compressed',
    sparsity_config: {},
    transform_config: {},
    version: VERSION,
  };
}

function groupOf({ form, scheme, input }: Linear): JsonObject & { format: string } {
  const { group, wholeTensor } = form.scale;
  const rounding = scheme?.rounding;
  return {
    format: formatOf(form, input),
    input_activations: input
      ? {
          dynamic: input.dynamic,
          group_size: null,
          num_bits: input.bits,
          ...(!input.dynamic && { observer: observerNames[input.observer ?? 'minmax'] ?? null }),
          strategy: String(input.per),
          symmetric: input.symmetric,
          type: 'int',
        }
      : null,
    weights: {
      ...(rounding?.order === 'activation' && { actorder: 'static' }),
      dynamic: false,
      group_size: group || null,
      num_bits: gridBits(form),
      observer: scheme?.range === 'mse' ? 'mse' : 'memoryless_minmax',
      strategy: wholeTensor ? 'tensor' : group ? 'group' : 'channel',
      symmetric: form.zero === undefined,
      type: 'int',
    },
  };
}

function formatOf(form: TileForm, input?: ActivationScheme): string {
  if (form.packing !== 'int8') return 'pack-quantized';
  return input ? 'int-quantized' : 'naive-quantized';
}
