import { architectureOf, type ModelSpec, modelTensors, type Role, roleGroups } from '../../model/index.ts';
import { linearOf } from '../../quantize/statistics.ts';
import type { InputGroup } from './types.ts';

const linearRoles: ReadonlySet<Role> = new Set(roleGroups.linear);

/**
 * The linears of a layer by the input they read, in the order of the computation; at `spec.layers` the head. Linears that engines
 * fuse into one read one input.
 */
export function inputGroups(spec: ModelSpec, layer: number): InputGroup[] {
  if (layer === spec.layers)
    return [{ linears: [linearOf(spec.tied ? 'model.embed_tokens.weight' : 'lm_head.weight')], width: spec.hidden }];
  const { fused } = architectureOf(spec.architecture);
  const groups = new Map<readonly Role[] | Role, { linears: string[]; width: number }>();
  for (const tensor of modelTensors(spec)) {
    if (tensor.layer !== layer || !linearRoles.has(tensor.role)) continue;
    const key = fused.find((roles) => roles.includes(tensor.role)) ?? tensor.role;
    const group = groups.get(key) ?? { linears: [], width: tensor.shape[1]! };
    group.linears.push(linearOf(tensor.name));
    groups.set(key, group);
  }
  return [...groups.values()];
}
