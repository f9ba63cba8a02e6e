/** What a matrix may become in each container. */
import { fits } from '../../format/gguf/type-fallbacks.ts';
import { gptqBits } from '../../format/gptq/config.ts';
import { containers } from '../../format/registry.ts';
import type { ContainerName, WeightTensor, WeightType } from '../../format/types.ts';
import { blockTypes } from '../../kernels/index.ts';
import { roleGroups } from '../../model/types.ts';
import type { CodebookScheme, IntegerScheme, Scheme, TableScheme } from '../../quantize/scheme.ts';
import { type StorageType, storage } from '../../tensor/storage.ts';

/** @param weightType dtype of the model's matrices: tools of some containers compute in it. */
type Candidates = (cols: number, weightType: WeightType) => Scheme[];

/** Of their size, or nearly, others lose far less on weights that were not trained for them; and older runtimes lack them. */
const neverChosen: ReadonlySet<StorageType> = new Set(['mxfp4', 'nvfp4', 'tq1_0', 'tq2_0', 'q1_0', 'q2_0']);

const byContainer: Readonly<Partial<Record<ContainerName, Candidates>>> = {
  gguf: (cols, weightType) =>
    (Object.keys(blockTypes) as StorageType[]).flatMap((type) => {
      const taken = storage[type].block > 1 ? blockTypes[type]!.imatrix !== 'required' : type === 'f16' && weightType === 'f32';
      return taken && !neverChosen.has(type) && fits(type, cols) ? [{ kind: 'storage', type }] : [];
    }),
  fewbits: (cols) => [
    ...([2, 3, 4, 5, 6, 8] as const).map((bits) => integers(bits, groupOf(cols, 64))),
    ...([2, 3] as const).flatMap((bits) => (cols % 32 === 0 ? [integers(bits, 32)] : [])),
    nf4(groupOf(cols, 64)),
    ...([2, 3, 4] as const).map(codebook),
  ],
  gptq: (cols, weightType) => gptqBits.map((bits) => customary('gptq', integers(bits, groupOf(cols, 128), true), weightType)),
  'compressed-tensors': (cols, weightType) =>
    [integers(4, groupOf(cols, 128), true), integers(4, groupOf(cols, 32), true), integers(8, groupOf(cols, 128), true)].map(
      (scheme) => customary('compressed-tensors', scheme, weightType),
    ),
};

/** Containers that a budget can be met in. */
export const fittable: readonly ContainerName[] = Object.keys(byContainer) as ContainerName[];

/** Loaders of these quantize linears and nothing else. */
const linearsOnly: ReadonlySet<ContainerName> = new Set(['gptq', 'compressed-tensors']);

/** Schemes that the container can hold for the tensor, each once. */
export function candidatesOf(tensor: WeightTensor, name: ContainerName, weightType: WeightType): Scheme[] {
  const linear: readonly string[] = roleGroups.linear;
  if (linearsOnly.has(name) && !linear.includes(tensor.role) && tensor.role !== 'other') return [];
  const made = byContainer[name]?.(tensor.stored.cols, weightType) ?? [];
  const distinct = new Map(made.map((scheme) => [JSON.stringify(scheme), scheme]));
  return [...distinct.values()].filter((scheme) => containers[name].refuses(scheme, tensor.shape) === undefined);
}

/** Ranges of few bits are searched: what they cut off costs less than what the rest gains. */
const SEARCHED_BITS = 4;
/** Ratios of the range that a search tries: 1, 0.99, ... 0.61. */
const SEARCH_STEPS = 40;

function integers(bits: number, group: number, symmetric = false): IntegerScheme {
  const base = symmetric ? 'absmax-half' : 'minmax';
  return {
    ...{ kind: 'integer', bits, symmetric, granularity: { group }, scaleType: 'f16' },
    ...(bits <= SEARCHED_BITS ? { range: 'mse', rangeOptions: { steps: SEARCH_STEPS, base } } : { range: base }),
  };
}

/** Scales as the tools of the container make them. */
function customary(container: ContainerName, scheme: IntegerScheme, weightType: WeightType): IntegerScheme {
  const { range: base, ...custom } = containers[container].customary?.(scheme.symmetric, weightType) ?? {};
  const searched = scheme.range === 'mse';
  return {
    ...scheme,
    ...custom,
    ...(base && (searched ? { rangeOptions: { steps: SEARCH_STEPS, base: base as 'minmax' } } : { range: base })),
  };
}

function nf4(group: number): TableScheme {
  return { kind: 'table', table: 'nf4', granularity: { group }, range: 'absmax', scaleType: 'f16' };
}

function codebook(bits: number): CodebookScheme {
  return { kind: 'codebook', bits, dim: 1, per: 'row', weighted: false, bookType: 'f16' };
}

/** The largest divisor of the row up to `most`. */
function groupOf(cols: number, most: number): number {
  let group = Math.min(most, cols);
  while (cols % group !== 0) group--;
  return group;
}
