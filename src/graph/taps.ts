/** Taps: passes that show what a linear layer reads. */
import { ModelError } from '../errors.ts';
import type { Graph, GraphNode } from './ir.ts';

export interface Tapped {
  readonly graph: Graph;
  /** Name of a linear -> name of the output [B * T, in] that shows its input. Linears that read the same value share one. */
  readonly taps: ReadonlyMap<string, string>;
}

/**
 * Makes the inputs of linear layers outputs, each flattened to one row a token.
 * @param linears names of MatMul nodes: those of their modules.
 * @throws ModelError when the graph has no such linear.
 */
export function tapInputs(graph: Graph, linears: readonly string[]): Tapped {
  const matmuls = new Map(graph.nodes.filter(({ op }) => op === 'MatMul').map((node) => [node.name, node]));
  const taps = new Map<string, string>();
  const byValue = new Map<string, string>();
  for (const linear of linears) {
    const value = matmuls.get(linear)?.inputs[0];
    if (value === undefined) throw new ModelError({ what: 'the graph has no such linear layer', where: linear });
    const tap = byValue.get(value) ?? `input.${linear}`;
    byValue.set(value, tap);
    taps.set(linear, tap);
  }
  return { graph: shown(graph, byValue), taps };
}

/** Makes the value that a node called `name` gives an output, flattened to one row a token: `input.middle` for 'middle'. */
export function showValue(graph: Graph, name: string): Graph {
  return shown(graph, new Map([[name, `input.${name}`]]));
}

/** @param values value -> name of the output that shows it */
function shown(graph: Graph, values: ReadonlyMap<string, string>): Graph {
  const flattened = [...values].map(
    ([value, tap]): GraphNode => ({
      name: tap,
      op: 'Flatten',
      domain: '',
      inputs: [value],
      outputs: [tap],
      attributes: { axis: { int: -1 } },
    }),
  );
  const outputs = [...values.values()].map((name) => ({ name, type: 'f32' as const, dims: ['B * T', `${name}.width`] }));
  return { ...graph, nodes: [...graph.nodes, ...flattened], outputs: [...graph.outputs, ...outputs] };
}

/** Leaves these outputs and what they are computed from: inputs and weights that nobody needs are gone. */
export function keepOutputs(graph: Graph, names: Iterable<string>): Graph {
  const kept = new Set(names);
  const needed = new Set(kept);
  const nodes = graph.nodes.toReversed().filter(({ inputs, outputs }) => {
    if (!outputs.some((output) => needed.has(output))) return false;
    for (const input of inputs) needed.add(input);
    return true;
  });
  return {
    ...graph,
    nodes: nodes.reverse(),
    inputs: graph.inputs.filter(({ name }) => needed.has(name)),
    outputs: graph.outputs.filter(({ name }) => kept.has(name)),
    constants: new Map([...graph.constants].filter(([name]) => needed.has(name))),
  };
}
