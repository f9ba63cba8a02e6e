/** From a scheme for each tensor to rules that say so: by pattern over all layers, then what differs from it. */
import type { WeightTensor } from '../../format/types.ts';
import type { Scheme } from '../../quantize/scheme.ts';
import type { Rule } from '../schema.ts';

export interface Assignment {
  tensor: Pick<WeightTensor, 'name' | 'layer'>;
  scheme: Scheme;
}

/** The last rule that matches a tensor decides: what most layers have comes first, exceptions follow. */
export function rulesFor(assignments: readonly Assignment[]): Rule[] {
  const patterns = new Map<string, Assignment[]>();
  for (const one of assignments) {
    const pattern = patternOf(one.tensor);
    patterns.set(pattern, [...(patterns.get(pattern) ?? []), one]);
  }
  const general: Named[] = [];
  const exceptions: Named[] = [];
  for (const [pattern, members] of patterns) {
    const common = commonest(members.map(({ scheme }) => scheme));
    general.push({ name: pattern, scheme: common });
    for (const { tensor, scheme } of members)
      if (JSON.stringify(scheme) !== JSON.stringify(common)) exceptions.push({ name: escaped(tensor.name), scheme });
  }
  return [...byScheme(general), ...byScheme(exceptions)];
}

interface Named {
  name: string;
  scheme: Scheme;
}

/** 'model.layers.*.mlp.down_proj.weight'; tensors without a layer by name. */
function patternOf({ name, layer }: Assignment['tensor']): string {
  if (layer === undefined) return escaped(name);
  const at = name.indexOf(`.${layer}.`);
  return at < 0 ? escaped(name) : `${escaped(name.slice(0, at))}.*.${escaped(name.slice(at + `.${layer}.`.length))}`;
}

/** Characters that a glob reads as more than themselves. */
function escaped(name: string): string {
  return name.replace(/[*?[]/g, (character) => `[${character}]`);
}

function commonest(schemes: readonly Scheme[]): Scheme {
  const counts = new Map<string, { scheme: Scheme; count: number }>();
  for (const scheme of schemes) {
    const key = JSON.stringify(scheme);
    counts.set(key, { scheme, count: (counts.get(key)?.count ?? 0) + 1 });
  }
  return [...counts.values()].sort((a, b) => b.count - a.count)[0]!.scheme;
}

function byScheme(all: readonly Named[]): Rule[] {
  const names = new Map<string, { scheme: Scheme; names: string[] }>();
  for (const { name, scheme } of all) {
    const key = JSON.stringify(scheme);
    names.set(key, { scheme, names: [...(names.get(key)?.names ?? []), name] });
  }
  return [...names.values()].map((one) => ({
    name: one.names.length === 1 ? one.names[0]! : one.names,
    scheme: one.scheme as Rule['scheme'],
  }));
}
