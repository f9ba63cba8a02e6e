/** Which linears read the same input: they share its statistics. */
import { ModelError } from '../errors.ts';
import { modelTensors } from './tensors.ts';
import type { ModelSpec, Role } from './types.ts';

/** Linears that read one input. */
export interface InputGroup {
  /** Named like their weights without `.weight`: 'model.layers.0.self_attn.q_proj'. */
  linears: readonly string[];
  /** Width of the input. */
  width: number;
  /** What the linears' output is added to: the states in front of the layer, or those between attention and MLP. */
  residual?: Residual;
}

export type Residual = 'hidden' | 'middle';

/** Roles of the linears of a layer by the input that they read, in the order in which a layer computes them. */
const sharing: readonly { roles: readonly Role[]; residual?: Residual }[] = [
  { roles: ['q', 'k', 'v'] },
  { roles: ['o'], residual: 'hidden' },
  { roles: ['gate', 'up'] },
  { roles: ['down'], residual: 'middle' },
];

/** The name of a linear, from that of its weight. */
export function linearOf(weight: string): string {
  return weight.replace(/\.weight$/, '');
}

/**
 * The inputs of a layer's linears. `layer` = spec.layers is the head: what comes out of the final norm, read by the output matrix or
 * by the embedding that stands for it.
 */
export function inputGroups(spec: ModelSpec, layer: number): InputGroup[] {
  if (!(Number.isInteger(layer) && layer >= 0 && layer <= spec.layers))
    throw new ModelError({ what: 'no such layer', value: layer, limit: spec.layers });
  const tensors = modelTensors(spec);
  if (layer === spec.layers) {
    const head = tensors.find(({ role }) => role === (spec.tied ? 'embedding' : 'output'))!;
    return [{ linears: [linearOf(head.name)], width: spec.hidden }];
  }
  const own = tensors.filter((tensor) => tensor.layer === layer && tensor.shape.length === 2);
  return sharing.flatMap(({ roles, residual }) => {
    const readers = own.filter(({ role }) => roles.includes(role));
    if (readers.length === 0) return [];
    const linears = readers.map(({ name }) => linearOf(name));
    return [{ linears, width: readers[0]!.shape[1]!, ...(residual && { residual }) }];
  });
}
