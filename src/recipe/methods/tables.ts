/** Methods that are one list of values under a scale. */
import { RecipeError } from '../../errors.ts';
import type { TableName, TableScheme } from '../../quantize/scheme.ts';
import type { StorageType } from '../../tensor/storage.ts';
import { type GgufRefusal, type GgufType, granularityOf, type Method, type MethodOptions } from './types.ts';

const searches = ['absmax', 'mse', 'imatrix'] as const;

function tableOf(table: TableName, { group, range, doubleQuant }: MethodOptions): TableScheme {
  const chosen = searches.find((one) => one === (range ?? 'absmax'));
  if (!chosen) {
    throw new RecipeError({
      what: 'a list of values has no such range',
      where: '--range',
      value: range,
      next: `choose one of ${searches.join(', ')}`,
    });
  }
  const nested = doubleQuant ? ({ nested: { bits: 8, per: 'tensor' } } as const) : {};
  return {
    kind: 'table',
    table,
    granularity: granularityOf(group),
    range: chosen,
    scaleType: doubleQuant ? 'f32' : 'f16',
    ...nested,
  };
}

/** The ggml type with one f16 scale for so many values, by group. */
function sharedScale(types: Readonly<Record<number, StorageType>>, { group, range }: MethodOptions): GgufType | GgufRefusal {
  const type = types[group];
  if (type) return { type, encoder: range === 'absmax' ? 'exact' : 'search' };
  const fitting = Object.entries(types).map(([size, name]) => `--group ${size} (${name})`);
  return {
    what: 'GGUF has no type with a scale for so many values',
    value: group,
    next: `use ${fitting.join(' or ')}, or --to fewbits`,
  };
}

export const nf4: Method = {
  description: '4 bits at the quantiles of a gaussian, in blocks of 64: no data',
  source: 'Dettmers et al., QLoRA, arXiv 2305.14314, section 3; bitsandbytes 0.50',
  container: 'fewbits',
  bits: [4],
  group: 64,
  takes: ['group', 'range', 'doubleQuant'],
  scheme: (options) => tableOf('nf4', options),
};

export const fp4: Method = {
  description: '4-bit floats of bitsandbytes, in blocks of 64: no data',
  source: 'bitsandbytes 0.50, functional.get_4bit_type',
  container: 'fewbits',
  bits: [4],
  group: 64,
  takes: ['group', 'range', 'doubleQuant'],
  scheme: (options) => tableOf('fp4', options),
};

export const ternary: Method = {
  description: '-1, 0, 1 under a scale of least error: no data',
  source: 'Li et al., Ternary Weight Networks, arXiv 1605.04711',
  container: 'fewbits',
  bits: [2],
  group: 64,
  takes: ['group', 'range'],
  scheme: (options) => tableOf('ternary', { ...options, range: options.range ?? 'mse' }),
  ggufType: (options) => sharedScale({ 64: 'q2_0', 256: 'tq2_0' }, options),
};

export const binary: Method = {
  description: '-1 and 1 under a scale of least error: no data',
  source: 'Rastegari et al., XNOR-Net, arXiv 1603.05279, section 3.1',
  container: 'fewbits',
  bits: [1],
  group: 64,
  takes: ['group', 'range'],
  scheme: (options) => tableOf('binary', { ...options, range: options.range ?? 'mse' }),
  // ggml's scale of signs is the mean magnitude, the one of least error: there is nothing to search.
  ggufType: (options) => {
    const { range = 'mse' } = options;
    const next = 'leave --range out, or use --to fewbits';
    if (range !== 'mse') return { what: 'the scale of q1_0 is the mean magnitude', value: range, next };
    return { ...sharedScale({ 128: 'q1_0' }, options), encoder: 'exact' };
  },
};
