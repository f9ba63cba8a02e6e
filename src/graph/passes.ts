/**
 * A pass rewrites a graph: taps, fake quantization, gradients. Graphs are plain data; a pass returns a new one and leaves the
 * old as it is.
 */
import { ModelError } from '../errors.ts';
import { bytesOf, type Constant, type Graph } from './ir.ts';
import type { WeightReader } from './types.ts';

export type Pass = (graph: Graph) => Graph;

export function applyPasses(graph: Graph, passes: readonly Pass[]): Graph {
  return passes.reduce((current, pass) => pass(current), graph);
}

/** Makes the weights of `graph` constants: faster than inputs where few positions are computed at a time. */
export async function bindWeights(graph: Graph, weights: WeightReader): Promise<Graph> {
  const constants = new Map<string, Constant>(graph.constants);
  for (const { name, dims, weight } of graph.inputs) {
    if (!weight) continue;
    const data = await weights(name);
    const fixed = dims.map(Number);
    const values = fixed.reduce((n, d) => n * d, 1);
    if (data.length !== values)
      throw new ModelError({ what: 'a weight has the wrong number of values', where: name, value: data.length, limit: values });
    constants.set(name, { type: 'f32', dims: fixed, bytes: bytesOf(data) });
  }
  return { ...graph, inputs: graph.inputs.filter(({ weight }) => !weight), constants };
}
