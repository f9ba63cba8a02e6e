/** Which statistics of its input a matrix needs to be quantized. */
import type { Model, WeightTensor } from '../format/types.ts';
import { roleGroups } from '../model/types.ts';
import { schemeNeeds } from '../quantize/kinds/encode.ts';
import { type InputScheme, type IntegerScheme, isWeightScheme, type Scheme } from '../quantize/scheme.ts';
import type { StatisticKind } from '../quantize/statistics.ts';
import { storageKind } from '../tensor/storage.ts';
import type { Transform } from './schema.ts';

/** The kinds a scheme cannot do without; none for a scheme that looks at the weights alone. */
export function needsOf(scheme: Scheme): readonly StatisticKind[] {
  if (isWeightScheme(scheme)) {
    const needs = schemeNeeds(scheme);
    return staticInput(scheme) ? [...new Set<StatisticKind>([...needs, 'min', 'max'])] : needs;
  }
  return scheme.kind === 'storage' && scheme.rounding ? ['hessian'] : [];
}

/** What is said of an input whose range calibration has to find. */
export function staticInput(scheme: Scheme): InputScheme | undefined {
  const input = isWeightScheme(scheme) ? scheme.input : undefined;
  return input && !input.dynamic ? input : undefined;
}

/** Whether the scheme's range is chosen by the loss of the whole model. */
export function looksAtLoss(scheme: Scheme): scheme is IntegerScheme {
  return scheme.kind === 'integer' && scheme.range === 'cross-entropy';
}

const needed: Readonly<Record<Transform['kind'], readonly StatisticKind[]>> = {
  smoothquant: ['absmax'],
  awq: ['absmean', 'hessian'],
  quarot: [],
  sinq: [],
};

/** What a transform looks at of the inputs of linears. */
export function transformNeeds({ kind }: Transform): readonly StatisticKind[] {
  return needed[kind];
}

/** Whether a scheme has codes that feedback could choose: grids and block types. Which of them cannot, says `refusalOf`. */
export function takesRounding(scheme: Scheme): boolean {
  return isWeightScheme(scheme) || (scheme.kind === 'storage' && storageKind(scheme.type) === 'block');
}

/** Whether the graph shows the input of this matrix: linears of layers, and the matrix that makes the logits. */
export function hasInput({ spec }: Pick<Model, 'spec'>, tensor: WeightTensor): boolean {
  if (!spec) return false;
  const linear: readonly string[] = roleGroups.linear;
  return linear.includes(tensor.role) || tensor.role === (spec.tied ? 'embedding' : 'output');
}
