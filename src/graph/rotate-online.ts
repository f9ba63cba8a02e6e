/**
 * The pass that puts rotations into a running model (QuaRot's online Hadamards): in front of linears, and behind the rotary positions
 * of queries and keys, so that a cache holds rotated keys. A rotation is one or two small matrix products, in plain ONNX.
 */
import { ModelError } from '../errors.ts';
import { rotationFactors, rotationMatrix } from '../quantize/transform/rotation.ts';
import type { OnlineRotation } from '../quantize/transform/types.ts';
import { GraphBuilder, type ValueName } from './builder.ts';
import { bytesOf, type Constant, type Graph, type GraphNode } from './ir.ts';
import { linearsOf } from './linears.ts';
import { layerPrefix } from './model.ts';

/** @throws ModelError for a linear or a layer that the graph does not have */
export function rotateOnline(graph: Graph, rotations: readonly OnlineRotation[]): Graph {
  return rotations.reduce(
    (current, one) => (one.at === 'input' ? beforeLinear(current, one) : afterRope(current, one, layerPrefix(one.layer))),
    graph,
  );
}

/** Those of one layer, in the graph of that layer, whose names have no prefix. */
export function rotateLayer(graph: Graph, layer: number, rotations: readonly OnlineRotation[]): Graph {
  const prefix = layerPrefix(layer);
  return rotations.reduce((current, one) => {
    if (one.at === 'queryKey') return one.layer === layer ? afterRope(current, one, '') : current;
    return one.linear.startsWith(prefix) ? beforeLinear(current, { ...one, linear: one.linear.slice(prefix.length) }) : current;
  }, graph);
}

function beforeLinear(graph: Graph, { linear, rotation, stride = 1 }: Extract<OnlineRotation, { at: 'input' }>): Graph {
  const modules = linearsOf(graph);
  const at = graph.nodes.findIndex(({ name }) => modules.get(name)?.module === linear);
  if (at === -1) throw new ModelError({ what: 'the graph has no such linear layer to rotate the input of', where: linear });
  const node = graph.nodes[at]!;
  const x = node.inputs[0]!;
  const name = `${x}.rotated`;
  const part = built(name, (b) => (stride > 1 ? mixed(b, x, name, rotation, stride) : turned(b, x, name, rotation, [0, 0])));
  return spliced(graph, at, part, [{ ...node, inputs: [name, ...node.inputs.slice(1)] }]);
}

function afterRope(graph: Graph, { rotation }: Extract<OnlineRotation, { at: 'queryKey' }>, prefix: string): Graph {
  return ['query', 'key'].reduce((current, role) => {
    const value = `${prefix}self_attn.${role}`;
    const at = current.nodes.findIndex((node) => node.name === value);
    if (at === -1) throw new ModelError({ what: 'the graph has no such queries and keys to rotate', where: value });
    // What is rotated takes the name, so that a cache that is quantized holds rotated keys.
    const plain = `${value}.plain`;
    const part = built(`${value}.rotation`, (b) => turned(b, plain, value, rotation, [0, 0, 0]));
    return spliced(current, at, part, [], [{ ...current.nodes[at]!, name: plain, outputs: [plain] }]);
  }, graph);
}

/** The node at `at` becomes `before`, the nodes of `part`, `after`. */
function spliced(graph: Graph, at: number, part: Graph, after: readonly GraphNode[], before: readonly GraphNode[] = []): Graph {
  const constants = new Map<string, Constant>([...graph.constants, ...part.constants]);
  const nodes = [...graph.nodes.slice(0, at), ...before, ...part.nodes, ...after, ...graph.nodes.slice(at + 1)];
  return { ...graph, nodes, constants };
}

function built(name: string, body: (b: GraphBuilder) => void): Graph {
  const b = new GraphBuilder(name);
  b.scoped(name, () => body(b));
  return b.build();
}

function matrix(b: GraphBuilder, name: string, dims: readonly number[], values: Float32Array): ValueName {
  return b.constant(name, { type: 'f32', dims, bytes: bytesOf(values) });
}

/** Runs of the last axis of x become x Q; `outer`: the axes before it, as Reshape keeps them. */
function turned(
  b: GraphBuilder,
  x: ValueName,
  name: string,
  rotation: OnlineRotation['rotation'],
  outer: readonly number[],
): void {
  const { a, b: width, left, right, signs } = rotationFactors(rotation);
  let y = b.reshape(x, ...outer, -1, a, width);
  if (signs) y = b.mul(y, matrix(b, `${name}.signs`, [a, width], Float32Array.from(signs)));
  y = b.matmul(y, matrix(b, `${name}.right`, [width, width], right));
  y = b.matmul(matrix(b, `${name}.left`, [a, a], left), y);
  // [.., runs, a, width] -> [.., in]
  b.node('Reshape', [y, b.ints(...outer, -1)], { name });
}

/** x [B, T, runs * size * stride]: values `stride` apart become x Q. */
function mixed(b: GraphBuilder, x: ValueName, name: string, rotation: OnlineRotation['rotation'], stride: number): void {
  const { size } = rotation;
  const q = rotationMatrix(rotation);
  const transposed = Float32Array.from(q, (_, at) => q[(at % size) * size + Math.floor(at / size)]!);
  const y = b.matmul(matrix(b, `${name}.left`, [size, size], transposed), b.reshape(x, 0, 0, -1, size, stride));
  b.node('Reshape', [y, b.ints(0, 0, -1)], { name });
}
