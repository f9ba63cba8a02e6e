/** AWQ of a model: scales behind norms, v and up, then clips (mit-han-lab/llm-awq; duo scaling: casper-hansen/AutoAWQ). */
import { NumericError, RecipeError } from '../../errors.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import { type Fold, modelFolds } from '../../model/folds.ts';
import { linearOf } from '../../model/inputs.ts';
import { modelTensors } from '../../model/tensors.ts';
import type { ModelSpec } from '../../model/types.ts';
import { searchClip } from './awq-clip.ts';
import { searchScale, weightMeans } from './awq-scale.ts';
import { foldScales, gatherChannels, spreadScales } from './fold.ts';
import { applyOperations, type TensorOperation } from './operations.ts';
import { OutputLoss } from './output-loss.ts';
import type { RoundTrip } from './round-trip.ts';
import type { TransformInputs } from './smoothquant.ts';
import type { ModelRewrite, Skipped } from './types.ts';

export interface AwqOptions {
  readonly kernels: Kernels;
  /**
   * How a weight will be quantized: `schemeRoundTrip(scheme)`, or `awqRoundTrip` for the arithmetic of the originals; undefined where
   * it stays as it is.
   */
  readonly roundTripOf: (weight: string) => RoundTrip | undefined;
  /** Scales by mean|x| alone (llm-awq, default), or with mean|w| (AutoAWQ's default). */
  readonly scales?: 'activations' | 'duo';
  /** Whether o is scaled where query heads share value heads: they share scales (default), or it is skipped as in the originals. */
  readonly sharedHeads?: 'share' | 'skip';
  /** Search for clips too (default true). q and k are never clipped. */
  readonly clip?: boolean;
  readonly grid?: number;
}

/** What was found for one input. */
export interface AwqSearch {
  readonly linears: readonly string[];
  readonly ratio: number;
  /** Mean square error of the outputs without scales and with them. */
  readonly before: number;
  readonly after: number;
}

export interface AwqRewrite extends ModelRewrite {
  readonly searches: readonly AwqSearch[];
}

/** All layers, one after the other. */
export async function awq(
  spec: ModelSpec,
  inputs: TransformInputs<'absmean' | 'hessian'>,
  options: AwqOptions,
): Promise<AwqRewrite> {
  const parts: AwqRewrite[] = [];
  for (let layer = 0; layer < spec.layers; layer++) parts.push(await awqLayer(spec, layer, inputs, options));
  return joinedRewrites(parts);
}

/** The rewrite of a model from those of its layers: statistics of one layer at a time are enough. */
export function joinedRewrites(parts: readonly AwqRewrite[]): AwqRewrite {
  return {
    description: parts[0]!.description,
    operations: parts.flatMap(({ operations }) => operations),
    clips: parts.flatMap(({ clips }) => clips),
    online: [],
    skipped: parts.flatMap(({ skipped }) => skipped),
    searches: parts.flatMap(({ searches }) => searches),
  };
}

/**
 * One layer. Scales are searched with the weights as they are, each input by itself; the loss is that of the linears' own outputs,
 * tr(E H E') over all that read the input (llm-awq looks at what the attention or the MLP makes of them). Clips come after the scales.
 * @throws NumericError where statistics are not finite, RecipeError where they do not fit
 */
export async function awqLayer(
  spec: ModelSpec,
  layer: number,
  inputs: TransformInputs<'absmean' | 'hessian'>,
  options: AwqOptions,
): Promise<AwqRewrite> {
  const { sharedHeads = 'share', clip = true } = options;
  const operations: TensorOperation[] = [];
  const skipped: Skipped[] = [];
  const searches: AwqSearch[] = [];
  const folds = modelFolds(spec).filter((fold) => fold.layer === layer);
  const scalesOf = new Map<Fold, Float32Array>();
  for (const fold of folds) {
    const reason = (sharedHeads === 'skip' ? sharing(fold) : undefined) ?? unread(fold, options);
    if (reason !== undefined) {
      skipped.push({ linears: fold.to, reason });
      continue;
    }
    const found = await searchFold(fold, inputs, options);
    searches.push(found.search);
    scalesOf.set(fold, found.scales);
    operations.push(...foldScales(fold, found.scales));
  }
  const clips = clip ? await searchClips(spec, folds, scalesOf, operations, inputs, options) : [];
  return { description: describe(options), operations, clips, online: [], skipped, searches };
}

function describe({
  scales = 'activations',
  sharedHeads = 'share',
  clip = true,
  grid = 20,
}: AwqOptions): AwqRewrite['description'] {
  return { kind: 'awq', scales, sharedHeads, clip, grid };
}

function sharing({ heads }: Fold): string | undefined {
  if (!heads || heads.heads === heads.kvHeads) return undefined;
  return `${heads.heads} query heads share ${heads.kvHeads} value heads: rows of v are not columns of o one by one`;
}

function unread({ to }: Fold, { roundTripOf }: AwqOptions): string | undefined {
  return to.some((name) => roundTripOf(name)) ? undefined : 'none of the linears that read it is quantized';
}

/** A weight that stays as it is. */
const untouched: RoundTrip = Object.assign(() => {}, { group: (cols: number) => cols });

async function searchFold(
  fold: Fold,
  inputs: TransformInputs<'absmean' | 'hessian'>,
  { kernels, roundTripOf, scales = 'activations', grid = 20 }: AwqOptions,
): Promise<{ scales: Float32Array; search: AwqSearch }> {
  const { width: cols, to } = fold;
  const weights: Float32Array[] = [];
  for (const name of to) weights.push(await inputs.weight(name));
  const roundTrips = to.map((name) => roundTripOf(name) ?? untouched);
  const { group } = roundTrips.find((one) => one !== untouched)!;
  const absmean = await checked(inputs, fold, 'absmean', cols);
  const output = new OutputLoss(kernels, await checked(inputs, fold, 'hessian', cols * cols), cols);
  const outputs = weights.reduce((rows, w) => rows + w.length / cols, 0);
  const error = new Float32Array(Math.max(...weights.map((w) => w.length)));
  const lossOf = (candidates: readonly Float32Array[]) =>
    candidates.reduce((sum, candidate, n) => {
      const e = error.subarray(0, candidate.length);
      const w = weights[n]!;
      for (let i = 0; i < e.length; i++) e[i] = w[i]! - candidate[i]!;
      return sum + output.total(e);
    }, 0) / outputs;
  const gather = (values: Float32Array) => gatherChannels(fold, values, 'mean');
  const choice = await searchScale({
    weights,
    cols,
    absmean: gather(absmean),
    ...(scales === 'duo' && { weightMean: gather(weightMeans(weights, cols, group(cols))) }),
    spread: (s) => spreadScales(fold, s),
    roundTrips,
    loss: lossOf,
    grid,
  });
  const plain = () =>
    weights.map((w, n) => {
      const rounded = w.slice();
      roundTrips[n]!(rounded, cols);
      return rounded;
    });
  // Without weight means, the scales of ratio 0 are 1.
  const before = scales === 'duo' ? lossOf(plain()) : choice.losses[0]!;
  const search = { linears: to, ratio: choice.ratio, before, after: choice.losses[Math.round(choice.ratio * grid)]! };
  return { scales: choice.scales, search };
}

async function searchClips(
  spec: ModelSpec,
  folds: readonly Fold[],
  scalesOf: ReadonlyMap<Fold, Float32Array>,
  operations: readonly TensorOperation[],
  inputs: TransformInputs<'absmean' | 'hessian'>,
  { kernels, roundTripOf }: AwqOptions,
): Promise<ModelRewrite['clips']> {
  const tensors = new Map(modelTensors(spec).map((tensor) => [tensor.name, tensor]));
  const clips: ModelRewrite['clips'][number][] = [];
  for (const fold of folds) {
    const { width: cols, to } = fold;
    const clipped = to.filter((name) => !['q', 'k'].includes(tensors.get(name)!.role) && roundTripOf(name));
    if (clipped.length === 0) continue;
    const scales = scalesOf.get(fold);
    const given = await checked(inputs, fold, 'hessian', cols * cols);
    const hessian = scales ? scaledHessian(given, spreadScales(fold, scales)) : given;
    const losses = new Map<number, OutputLoss>();
    for (const name of clipped) {
      const { shape } = tensors.get(name)!;
      const roundTrip = roundTripOf(name)!;
      const group = roundTrip.group(cols);
      const loss = losses.get(group) ?? new OutputLoss(kernels, hessian, cols, group);
      losses.set(group, loss);
      const weight = (await inputs.weight(name)).slice();
      applyOperations(weight, { name, shape, from: 0, to: shape[0]! }, operations);
      const { limits } = searchClip({ weight, loss, roundTrip });
      clips.push({ kind: 'clip', tensor: name, group, limits });
    }
  }
  return clips;
}

/** H of x / s. */
function scaledHessian(hessian: Float32Array, s: Float32Array): Float32Array {
  const cols = s.length;
  return hessian.map((h, at) => h / s[Math.floor(at / cols)]! / s[at % cols]!);
}

async function checked(
  inputs: TransformInputs<'absmean' | 'hessian'>,
  { to }: Fold,
  kind: 'absmean' | 'hessian',
  size: number,
): Promise<Float32Array> {
  const where = linearOf(to[0]!);
  const values = await inputs.statistic(where, kind);
  if (values.length !== size)
    throw new RecipeError({ what: `the ${kind} does not fit the linear`, where, value: values.length, limit: size });
  const bad = values.findIndex((x) => !Number.isFinite(x));
  if (bad === -1) return values;
  throw new NumericError({
    what: `the ${kind} of an input is not finite`,
    where,
    value: `${values[bad]}`,
    next: 'calibrate again with other text, or leave AWQ out',
  });
}
