/** Which tensors a budget is spent on, and which of them share a scheme. */
import { RecipeError } from '../../errors.ts';
import { containers } from '../../format/registry.ts';
import type { Model, WeightTensor } from '../../format/types.ts';
import { architectureOf } from '../../model/index.ts';
import type { Scheme } from '../../quantize/scheme.ts';
import { globMatch } from '../glob.ts';
import { isMatrix, weightType } from '../resolve.ts';
import type { Recipe } from '../schema.ts';
import { candidatesOf, fittable } from './candidates.ts';
import type { TensorGroup } from './types.ts';

/**
 * Matrices of the layers that the recipe names and that it does not keep; those that inference engines fuse are one group.
 * @throws RecipeError where the container has no choice, or nothing is left to choose for
 */
export function tensorGroups(model: Model, { container = 'fewbits', keep, layers }: Recipe): TensorGroup[] {
  if (!fittable.includes(container)) {
    throw new RecipeError({
      what: `${containers[container].name} holds no quantized weights to choose from`,
      where: '--fit',
      next: `use --to ${fittable.join(' or --to ')}`,
    });
  }
  const type = weightType(model);
  const free = model.tensors.filter((tensor) => {
    const inside = layers === undefined || (tensor.layer !== undefined && tensor.layer >= layers[0] && tensor.layer <= layers[1]);
    return isMatrix(tensor) && inside && !keep.some((pattern) => globMatch(pattern, tensor.name));
  });
  const groups = fused(model, free).flatMap((tensors) => {
    const candidates = shared(tensors.map((tensor) => candidatesOf(tensor, container, type)));
    return candidates.length ? [{ tensors, candidates }] : [];
  });
  if (groups.length === 0) {
    throw new RecipeError({
      what: 'there is no matrix whose type could be chosen',
      where: model.name,
      next: 'keep fewer tensors or layers, or use another container',
    });
  }
  return groups;
}

function fused({ spec }: Model, tensors: readonly WeightTensor[]): WeightTensor[][] {
  const together = spec ? architectureOf(spec.architecture).fused : [];
  const groups = new Map<string, WeightTensor[]>();
  for (const tensor of tensors) {
    const roles = together.find((members) => members.includes(tensor.role));
    const key = roles && tensor.layer !== undefined ? `${tensor.layer} ${roles.join(' ')}` : tensor.name;
    groups.set(key, [...(groups.get(key) ?? []), tensor]);
  }
  return [...groups.values()];
}

/** What all members can be. */
function shared([first = [], ...others]: readonly Scheme[][]): Scheme[] {
  const known = others.map((list) => new Set(list.map((scheme) => JSON.stringify(scheme))));
  return first.filter((scheme) => known.every((set) => set.has(JSON.stringify(scheme))));
}
