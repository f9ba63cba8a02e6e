/**
 * SINQ's folded form (arXiv 2509.22944, section 3): one factor a column for all linears that read one input, moved into what makes
 * that input, so that no reader has to multiply at run time. The factors of rows are left to the scales of groups.
 */
import { modelFolds } from '../../model/folds.ts';
import type { ModelSpec } from '../../model/types.ts';
import { sharedColumnScale } from '../sinq.ts';
import { foldScales, gatherChannels } from './fold.ts';
import type { TensorOperation } from './operations.ts';
import type { TransformInputs } from './smoothquant.ts';
import type { ModelRewrite, Skipped } from './types.ts';

export interface SinqFoldOptions {
  /** all: also o (behind v) and down (behind up), whose rows take the factors (default); norms: the linears behind norms. */
  readonly folds?: 'norms' | 'all';
}

/**
 * The rewrite of a whole model, layer by layer, from its weights alone; the head is left alone. Where query heads share a value head
 * they share its factors: the geometric mean.
 * @throws NumericError for weights that are not finite
 */
export async function sinqFolds(
  spec: ModelSpec,
  { weight }: Pick<TransformInputs<never>, 'weight'>,
  { folds = 'all' }: SinqFoldOptions = {},
): Promise<ModelRewrite> {
  const operations: TensorOperation[] = [];
  const skipped: Skipped[] = [];
  for (const fold of modelFolds(spec)) {
    if (fold.layer === spec.layers) continue;
    if (fold.from.kind === 'linear' && folds === 'norms') {
      skipped.push({ linears: fold.to, reason: 'only linears behind norms were asked for; folds: all includes it' });
      continue;
    }
    const weights: Float32Array[] = [];
    for (const name of fold.to) weights.push(await weight(name));
    const logs = sharedColumnScale(weights, fold.width, { stored: 'f32' }).map((scale) => Math.log(scale));
    operations.push(
      ...foldScales(
        fold,
        gatherChannels(fold, logs, 'mean').map((log) => Math.exp(-log)),
      ),
    );
  }
  return { description: { kind: 'sinq', folds }, operations, clips: [], online: [], skipped };
}
