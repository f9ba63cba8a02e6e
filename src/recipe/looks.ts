/**
 * What the transforms and schemes of a recipe look at of the inputs of linears, told by the model as it is: scales change statistics
 * channel by channel, rotations leave only sums of products known.
 */
import type { Model, WeightTensor } from '../format/types.ts';
import { inputGroups, type ModelSpec } from '../model/index.ts';
import type { StatisticKind } from '../quantize/statistics.ts';
import { kindBefore, quarot, rewrittenSpec } from '../quantize/transform/index.ts';
import { needsOf, transformNeeds } from './needs.ts';
import type { Resolved } from './resolve.ts';
import { quarotOptions, type RewrittenModel } from './rewritten.ts';
import type { Transform } from './schema.ts';

export interface Looked {
  /** The tensor of the source whose input is looked at. */
  tensor: WeightTensor;
  kind: StatisticKind;
  /** Which statistic of that input tells it; undefined: none does, because `rotated` mixes the channels. */
  before: StatisticKind | undefined;
  rotated?: Transform['kind'];
}

export interface Looks {
  /** By each transform that looks at inputs, and by the schemes, where one does. */
  byTransforms: readonly (readonly Looked[])[];
  bySchemes: readonly Looked[];
}

export async function looksOf(
  model: Model,
  { transforms }: Pick<RewrittenModel, 'transforms'>,
  schemes: Resolved['schemes'],
): Promise<Looks> {
  let spec: ModelSpec = model.spec!;
  const source = new Map(model.tensors.map((tensor) => [tensor.name, tensor]));
  const rotated = new Set<string>();
  const look = (name: string, kinds: readonly StatisticKind[]): Looked[] => {
    const turned = rotated.has(name);
    const tensor = source.get(name);
    return tensor
      ? kinds.map((kind) => ({ tensor, kind, before: kindBefore(kind, turned), ...(turned && { rotated: 'quarot' as const }) }))
      : [];
  };
  const byTransforms: Looked[][] = [];
  for (const transform of transforms) {
    const kinds = transformNeeds(transform);
    const layers = Array.from({ length: spec.layers }, (_, layer) => inputGroups(spec, layer)).flat();
    if (kinds.length > 0)
      byTransforms.push(layers.flatMap(({ linears }) => linears.flatMap((linear) => look(`${linear}.weight`, kinds))));
    if (transform.kind !== 'quarot') continue;
    // Which weights turn follows from the shape of the model alone.
    const rewrite = await quarot(spec, async () => new Float32Array(model.spec!.hidden).fill(1), quarotOptions(transform));
    for (const one of rewrite.operations) if (one.kind === 'rotate' && one.axis === 'columns') rotated.add(one.tensor);
    if (rewrite.untied) source.set(rewrite.untied.tensor, source.get(rewrite.untied.from)!);
    spec = rewrittenSpec(spec, rewrite);
  }
  const bySchemes = schemes.flatMap(({ tensor, scheme }) => look(tensor.name, needsOf(scheme)));
  return { byTransforms, bySchemes };
}

/** What one walk through the model as it is collects for several that look: kinds, and whether of the head too. */
export interface Gathered {
  kinds: readonly StatisticKind[];
  head: boolean;
}

/** undefined where it saves no walk, or where a rotation hides what is looked at. */
export function gatheredOnce(
  { byTransforms, bySchemes }: Looks,
  headed: (tensor: WeightTensor) => boolean,
): Gathered | undefined {
  const lookers = byTransforms.length + (bySchemes.length > 0 ? 1 : 0);
  const all = [...byTransforms.flat(), ...bySchemes];
  if (lookers < 2 || all.some(({ before }) => before === undefined)) return undefined;
  return { kinds: [...new Set(all.map(({ before }) => before!))].sort(), head: bySchemes.some(({ tensor }) => headed(tensor)) };
}
