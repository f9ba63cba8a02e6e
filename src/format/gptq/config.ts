/** `quantization_config` of config.json, and quantize_config.json, as GPTQModel 7.7 writes them. */
import * as z from 'zod';
import type { Json, JsonObject } from '../../checkpoint/types.ts';
import type { TileForm } from '../../quantized/form.ts';
import type { Linear } from '../linears.ts';
import { gridBits } from '../tile-fields.ts';
import type { Provenance } from '../types.ts';

export const gptqBits: readonly number[] = [2, 3, 4, 8];

export const configSchema = z.looseObject({
  bits: z.int().min(1).max(8),
  group_size: z.int().refine((size) => size === -1 || size > 0, { message: 'not a group size: a positive number or -1' }),
  desc_act: z.boolean().default(false),
  sym: z.boolean().default(true),
  checkpoint_format: z.string().optional(),
  /** Its older name. */
  format: z.string().optional(),
  pack_dtype: z.string().default('int32'),
  /** Modules that differ from the rest. */
  dynamic: z.record(z.string(), z.unknown()).nullish(),
});

export type GptqConfig = z.output<typeof configSchema>;

type Settings = { bits: number; group_size: number; sym: boolean; desc_act: boolean };

/** Format 2 where a zero point may be 0, which format 1 cannot say. */
export function versionOf(linears: readonly Pick<Linear, 'form'>[]): 1 | 2 {
  return linears.some(({ form }) => form.zero) ? 2 : 1;
}

/** @param kept modules of linears that stay */
export function gptqConfig(linears: readonly Linear[], kept: readonly string[], provenance?: Provenance): JsonObject {
  const settings = new Map(linears.map((linear) => [linear.module, settingsOf(linear.form)]));
  const base = mostCommon([...settings.values()]);
  const format = versionOf(linears) === 2 ? 'gptq_v2' : 'gptq';
  const rounding = linears.find(({ scheme }) => scheme?.rounding)?.scheme?.rounding;
  const head = linears.some(({ role }) => role === 'output');
  const dynamic: Record<string, Json> = {};
  // Loaders expect every linear of a layer to be quantized, and the head not to be.
  for (const module of kept) if (/\.layers\.\d+\./.test(module)) dynamic[`-:${exactly(module)}`] = {};
  for (const [module, own] of settings)
    if (JSON.stringify(own) !== JSON.stringify(base)) dynamic[`+:${exactly(module)}`] = { ...own };
  return {
    bits: base.bits,
    group_size: base.group_size,
    desc_act: base.desc_act,
    lm_head: head,
    method: 'gptq',
    quant_method: 'gptq',
    format,
    checkpoint_format: format,
    pack_dtype: 'int32',
    ...(Object.keys(dynamic).length > 0 && { dynamic }),
    meta: {
      ...(provenance && { quantizer: [`fewbits:${provenance.version}`] }),
      ...(rounding && { damp_percent: rounding.damp, static_groups: rounding.groups === 'static' }),
    },
    sym: base.sym,
  };
}

function settingsOf(form: TileForm): Settings {
  return {
    bits: gridBits(form),
    group_size: form.scale.group || -1,
    sym: form.zero === undefined,
    desc_act: form.order ?? false,
  };
}

function mostCommon(all: readonly Settings[]): Settings {
  const counts = new Map<string, number>();
  for (const one of all) counts.set(JSON.stringify(one), (counts.get(JSON.stringify(one)) ?? 0) + 1);
  return JSON.parse([...counts].sort((a, b) => b[1] - a[1])[0]![0]);
}

/** A regular expression, as `dynamic` takes them. */
function exactly(module: string): string {
  return `^${module.replace(/\./g, '\\.')}$`;
}
