/** Keys and values as f16 holds them, from the moment they are made: what a cache keeps exactly, it keeps in f16. */
import { ModelError } from '../errors.ts';
import { GraphBuilder } from './builder.ts';
import type { Graph, GraphNode } from './ir.ts';
import { roundToF16 } from './number-nodes.ts';

/** @throws ModelError for a graph without attention */
export function halfKeysValues(graph: Graph): Graph {
  const nodes: GraphNode[] = [];
  for (const node of graph.nodes) {
    const { name } = node;
    if (!/self_attn\.(key|value)$/.test(name)) {
      nodes.push(node);
      continue;
    }
    // What is rounded takes the name, so that all who read it read that.
    const wide = `${name}.f32`;
    nodes.push({ ...node, name: wide, outputs: [wide] });
    const b = new GraphBuilder(name);
    b.scoped(name, () => b.node('Identity', [roundToF16(b, wide)], { name }));
    nodes.push(...b.build().nodes);
  }
  if (nodes.length === graph.nodes.length) {
    throw new ModelError({ what: 'the graph has no attention whose keys and values could be quantized', where: graph.name });
  }
  return { ...graph, nodes };
}
