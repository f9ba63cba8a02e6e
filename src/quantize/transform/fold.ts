import type { Fold } from '../../model/folds.ts';
import { sourceRow, sourceWidth } from '../../model/folds.ts';
import type { TensorOperation } from './operations.ts';

/**
 * Moves scales from the weights into what is in front of them: columns of `to` times s, what they read divided by s.
 * @param scales [sourceWidth(fold)]: one per output of `from`, shared by the query heads that read a value head
 */
export function foldScales(fold: Fold, scales: Float32Array): TensorOperation[] {
  const { from, to } = fold;
  const columns = spreadScales(fold, scales);
  const divide = (tensor: string): TensorOperation => ({ kind: 'scale', tensor, axis: 'rows', by: scales, divide: true });
  const sources = from.kind === 'norm' ? [from.gain] : [from.weight, ...(from.bias === undefined ? [] : [from.bias])];
  return [
    ...sources.map(divide),
    ...to.map((tensor): TensorOperation => ({ kind: 'scale', tensor, axis: 'columns', by: columns })),
  ];
}

/** The scale of every input channel of `to`. scales [sourceWidth] -> [width] */
export function spreadScales(fold: Fold, scales: Float32Array): Float32Array {
  if (!fold.heads) return scales;
  return Float32Array.from({ length: fold.width }, (_, channel) => scales[sourceRow(fold, channel)]!);
}

/** Joins what is known of the input channels of `to` that come from one output of `from`. values [width] -> [sourceWidth] */
export function gatherChannels(fold: Fold, values: Float32Array, how: 'mean' | 'max'): Float32Array {
  if (!fold.heads) return values;
  const out = new Float32Array(sourceWidth(fold));
  const share = out.length / fold.width;
  for (let channel = 0; channel < fold.width; channel++) {
    const row = sourceRow(fold, channel);
    out[row] = how === 'max' ? Math.max(out[row]!, values[channel]!) : out[row]! + values[channel]! * share;
  }
  return out;
}
