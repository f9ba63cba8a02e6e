/** Where a scale or a rotation can be moved through the model without a change of what it computes. */
import { ModelError } from '../errors.ts';
import type { FoldPair } from './architecture.ts';
import { architectureOf } from './architectures/index.ts';
import { modelTensors, numbered } from './tensors.ts';
import type { ModelSpec, ModelTensor } from './types.ts';

/** Heads of `headDim` channels; `kvHeads` of values, each read by heads / kvHeads query heads that follow each other. */
export interface HeadLayout {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/**
 * The inputs of `to` are the outputs of `from`, channel by channel: what divides the latter may multiply the columns of the former.
 * Tensors go by their canonical names.
 */
export interface Fold {
  /** spec.layers for the final norm and the head. */
  readonly layer: number;
  readonly from:
    | { readonly kind: 'norm'; readonly gain: string }
    | { readonly kind: 'linear'; readonly weight: string; readonly bias?: string };
  /** Weights [out, width]. */
  readonly to: readonly string[];
  readonly width: number;
  /** From v to o: several input channels of o come from one row of v where query heads share value heads. */
  readonly heads?: HeadLayout;
  /** `to` is an embedding that stands for the head: only a model that gives them a matrix each can be folded here. */
  readonly tied?: boolean;
}

/** All folds of a model, layer by layer; the last one is that of the head. */
export function modelFolds(spec: ModelSpec): Fold[] {
  const { pairs } = architectureOf(spec.architecture);
  const tensors = modelTensors(spec);
  const ofLayer = (pair: FoldPair) => !('norm' in pair.from) || pair.from.norm.includes('{}');
  const layers = Array.from({ length: spec.layers }, (_, layer) =>
    pairs.filter(ofLayer).map((pair) => resolve(spec, tensors, pair, layer)),
  );
  return [...layers.flat(), ...pairs.filter((pair) => !ofLayer(pair)).map((pair) => resolve(spec, tensors, pair, spec.layers))];
}

function resolve(spec: ModelSpec, tensors: readonly ModelTensor[], pair: FoldPair, layer: number): Fold {
  const isHead = layer === spec.layers;
  const matrices = tensors.filter((tensor) => tensor.shape.length === 2 && tensor.layer === (isHead ? undefined : layer));
  const tied = spec.tied && pair.to.includes('output');
  const readers = matrices.filter(({ role }) => (tied ? role === 'embedding' : pair.to.includes(role)));
  const width = readers[0]?.shape[1];
  if (width === undefined) throw new ModelError({ what: 'no linear reads this input', where: pair.to.join(', '), value: layer });
  const fold = { layer, to: readers.map(({ name }) => name), width, ...(tied && { tied }) };
  if ('norm' in pair.from) return { ...fold, from: { kind: 'norm', gain: `${numbered(pair.from.norm, layer)}.weight` } };
  const { role } = pair.from;
  const from = linearFrom(tensors, matrices.find((tensor) => tensor.role === role)!);
  const { heads, kvHeads, headDim } = spec;
  return { ...fold, from, ...(role === 'v' && { heads: { heads, kvHeads, headDim } }) };
}

function linearFrom(tensors: readonly ModelTensor[], { name }: ModelTensor): Extract<Fold['from'], { kind: 'linear' }> {
  const bias = biasOf(tensors, name);
  return { kind: 'linear', weight: name, ...(bias !== undefined && { bias }) };
}

function biasOf(tensors: readonly ModelTensor[], weight: string): string | undefined {
  const bias = weight.replace(/\.weight$/, '.bias');
  return tensors.some(({ name }) => name === bias) ? bias : undefined;
}

/** Which row of `from` input channel c of `to` comes from. */
export function sourceRow({ heads }: Pick<Fold, 'heads'>, channel: number): number {
  if (!heads) return channel;
  const { headDim, kvHeads } = heads;
  const head = Math.floor(channel / headDim);
  return Math.floor((head * kvHeads) / heads.heads) * headDim + (channel % headDim);
}

/** Rows of `from`. */
export function sourceWidth({ heads, width }: Pick<Fold, 'heads' | 'width'>): number {
  return heads ? heads.kvHeads * heads.headDim : width;
}

/** What writes hidden states [hidden] and what reads them through a norm. */
export interface ResidualStream {
  readonly width: number;
  /** The embedding writes rows; the linears before an addition write their outputs. */
  readonly embedding: string;
  readonly writers: readonly { readonly weight: string; readonly bias?: string }[];
  /** Folds whose `from` is a norm. */
  readonly readers: readonly Fold[];
}

export function residualStream(spec: ModelSpec): ResidualStream {
  const tensors = modelTensors(spec);
  const writers = tensors.filter(({ role }) => role === 'o' || role === 'down');
  return {
    width: spec.hidden,
    embedding: tensors.find(({ role }) => role === 'embedding')!.name,
    writers: writers.map((tensor) => {
      const { weight, bias } = linearFrom(tensors, tensor);
      return { weight, ...(bias !== undefined && { bias }) };
    }),
    readers: modelFolds(spec).filter(({ from }) => from.kind === 'norm'),
  };
}
