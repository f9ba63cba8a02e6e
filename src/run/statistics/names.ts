/** What llama.cpp calls the weight of a linear, and back. */
import type { Model } from '../../format/types.ts';
import { architectures, linearOf } from '../../model/index.ts';

export interface LinearNames {
  /** 'model.layers.0.mlp.up_proj' -> 'blk.0.ffn_up.weight' */
  toGguf(linear: string): string;
  /** The other way; undefined for a tensor that the model does not have. */
  toLinear(tensor: string): string | undefined;
}

/** By the model's own names; without one by those of all architectures, and what they do not know keeps its name. */
export function linearNames(model?: Model): LinearNames {
  if (!model)
    return { toGguf: (linear) => renamed(`${linear}.weight`, 'gguf'), toLinear: (name) => linearOf(renamed(name, 'name')) };
  const pairs = model.tensors.map(({ name, gguf }) => [linearOf(name), gguf ?? name] as const);
  const toGguf = new Map(pairs);
  const toLinear = new Map(pairs.map(([linear, gguf]) => [gguf, linear]));
  return {
    toGguf: (linear) => toGguf.get(linear) ?? renamed(`${linear}.weight`, 'gguf'),
    toLinear: (name) => toLinear.get(name),
  };
}

const rows = architectures.flatMap(({ tensors }) => [...tensors.before, ...tensors.layer, ...tensors.after]);

/** The name of a tensor in the other convention: patterns differ in what stands around the layer's number. */
function renamed(name: string, to: 'name' | 'gguf'): string {
  const from = to === 'gguf' ? 'name' : 'gguf';
  const layer = /\.(\d+)\./.exec(name)?.[1];
  const pattern = layer === undefined ? name : name.replace(`.${layer}.`, '.{}.');
  const row = rows.find((row) => row[from] === pattern);
  return row?.[to].replace('{}', layer ?? '') ?? name;
}
