/** SmoothQuant (Xiao et al., arXiv 2211.10438, equation 4): the difficulty of quantizing activations moves into the weights. */
import { NumericError } from '../../errors.ts';
import { type Fold, modelFolds, sourceWidth } from '../../model/folds.ts';
import { linearOf } from '../../model/inputs.ts';
import { modelTensors } from '../../model/tensors.ts';
import type { ModelSpec } from '../../model/types.ts';
import { foldScales, gatherChannels } from './fold.ts';
import type { TensorOperation } from './operations.ts';
import type { ModelRewrite, Skipped } from './types.ts';

/** Where smooth.py bounds weights and scales from below. */
const SMALLEST = Math.fround(1e-5);

/**
 * s_j = max|x_j|^alpha / max|w_j|^(1 - alpha), both bounded by 1e-5, in f32 (mit-han-lab/smoothquant, smooth.py).
 * @param absmax max |x| of each input channel, [in]
 * @param weightMax max |w| of each column over all linears that read the input, [in]
 */
export function smoothScales(absmax: Float32Array, weightMax: Float32Array, alpha: number): Float32Array {
  return Float32Array.from(absmax, (x, j) => {
    const w = Math.max(weightMax[j]!, SMALLEST);
    return Math.max(Math.fround(Math.fround(x ** alpha) / Math.fround(w ** (1 - alpha))), SMALLEST);
  });
}

/** max |w| of each column, [cols]. w: [rows, cols] */
export function columnMax(w: Float32Array, cols: number, out: Float32Array = new Float32Array(cols)): Float32Array {
  for (let at = 0, c = 0; at < w.length; at++, c = c + 1 === cols ? 0 : c + 1) {
    const magnitude = Math.abs(w[at]!);
    if (magnitude > out[c]!) out[c] = magnitude;
  }
  return out;
}

export interface SmoothQuantOptions {
  /** How much of the difficulty moves, 0..1 (default 0.5). */
  readonly alpha?: number;
  /** norms: the linears behind norms, as the authors do it (default); all: also o (behind v) and down (behind up). */
  readonly folds?: 'norms' | 'all';
}

/** What a transform reads of a model. */
export interface TransformInputs<Kind extends string> {
  /** f32 [out, in] by canonical name. */
  weight(name: string): Promise<Float32Array>;
  /** Of the input of a linear ('model.layers.0.self_attn.q_proj'). */
  statistic(linear: string, kind: Kind): Promise<Float32Array>;
}

/**
 * The rewrite of a whole model, layer by layer. The head is left alone, as in the original.
 * @throws NumericError where an absmax is not finite
 */
export async function smoothQuant(
  spec: ModelSpec,
  inputs: TransformInputs<'absmax'>,
  { alpha = 0.5, folds = 'norms' }: SmoothQuantOptions = {},
): Promise<ModelRewrite> {
  const operations: TensorOperation[] = [];
  const skipped: Skipped[] = [];
  const shapes = new Map(modelTensors(spec).map(({ name, shape }) => [name, shape]));
  for (const fold of modelFolds(spec)) {
    if (fold.layer === spec.layers) continue;
    if (fold.from.kind === 'linear' && folds === 'norms') {
      skipped.push({ linears: fold.to, reason: 'SmoothQuant scales what follows a norm; folds: all includes it' });
      continue;
    }
    const weightMax = new Float32Array(fold.width);
    for (const name of fold.to) columnMax(await inputs.weight(name), shapes.get(name)![1]!, weightMax);
    const absmax = await inputs.statistic(linearOf(fold.to[0]!), 'absmax');
    checkFiniteMax(absmax, fold);
    const join = (values: Float32Array) => gatherChannels(fold, values, 'max');
    operations.push(...foldScales(fold, smoothScales(join(absmax), join(weightMax), alpha)));
  }
  return { description: { kind: 'smoothquant', alpha, folds }, operations, clips: [], online: [], skipped };
}

function checkFiniteMax(absmax: Float32Array, fold: Fold): void {
  const at = absmax.findIndex((x) => !Number.isFinite(x));
  if (absmax.length === fold.width && at === -1) return;
  throw new NumericError({
    what: at === -1 ? 'the absmax of an input has another width' : `the absmax of input channel ${at} is not finite`,
    where: linearOf(fold.to[0]!),
    value: at === -1 ? absmax.length : `${absmax[at]}`,
    limit: fold.heads ? sourceWidth(fold) : fold.width,
  });
}
