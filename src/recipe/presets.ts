/**
 * Methods by name. A method is a recipe fragment: this table is the only place where method names exist.
 */
import { RecipeError } from '../errors.ts';
import type { ContainerName } from '../format/types.ts';
import type { IntegerScheme, Rounding } from '../quantize/scheme.ts';
import { defaultRounding } from './schema.ts';

export interface PresetOptions {
  bits: number;
  /** Consecutive inputs that share a scale; -1 = the whole row. */
  group: number;
  symmetric: boolean;
  range: IntegerScheme['range'];
}

export interface Preset {
  /** One line for help and tables. */
  readonly description: string;
  readonly source: string;
  /** The container that people expect its output in. */
  readonly container: ContainerName;
  scheme(options: PresetOptions): IntegerScheme;
  /** Where scales come from when no option says; else by the container's custom. A search starts from that custom's formula. */
  readonly range?: 'mse';
  /** Which code a weight gets, whatever the grid: also for the types of GGUF. */
  readonly rounding?: Rounding;
}

function integers({ bits, group, symmetric, range }: PresetOptions): IntegerScheme {
  const granularity = group === -1 ? 'channel' : { group };
  return { kind: 'integer', bits, symmetric, granularity, range, scaleType: 'f16' };
}

export const presets: Readonly<Record<string, Preset>> = {
  rtn: {
    description: 'round to nearest: no data, one pass over the weights',
    source: 'Nagel et al., A White Paper on Neural Network Quantization, arXiv 2106.08295, section 2',
    container: 'fewbits',
    scheme: integers,
  },
  gptq: {
    description: 'round column by column and spread each error over the columns that follow, by the Hessian of the inputs',
    source: 'Frantar et al., GPTQ, arXiv 2210.17323, section 3',
    container: 'gptq',
    scheme: integers,
    range: 'mse',
    rounding: defaultRounding,
  },
};

/** @throws RecipeError for a method that does not exist. */
export function presetNamed(name: string): Preset {
  const preset = Object.hasOwn(presets, name) ? presets[name] : undefined;
  if (preset) return preset;
  throw new RecipeError({
    what: 'no such method',
    where: '--method',
    value: name,
    next: `choose one of ${Object.keys(presets).join(', ')}`,
  });
}
