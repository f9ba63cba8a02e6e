/**
 * Methods by name. A method is a recipe fragment: this table is the only place where method names exist.
 */
import { RecipeError } from '../errors.ts';
import type { IntegerScheme } from '../quantize/scheme.ts';

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
  scheme(options: PresetOptions): IntegerScheme;
}

export const presets: Readonly<Record<string, Preset>> = {
  rtn: {
    description: 'round to nearest: no data, one pass over the weights',
    source: 'Nagel et al., A White Paper on Neural Network Quantization, arXiv 2106.08295, section 2',
    scheme: ({ bits, group, symmetric, range }) => ({
      kind: 'integer',
      bits,
      symmetric,
      granularity: group === -1 ? 'channel' : { group },
      range,
      scaleType: 'f16',
    }),
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
