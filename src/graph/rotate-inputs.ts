/**
 * Rotations that the model computes while it runs (QuaRot, Ashkboos et al., arXiv 2404.00456): inputs of linears whose weights were
 * rotated to match (R4 in front of down_proj, over heads in front of o_proj), and queries and keys after the rotary embedding (R3),
 * which changes no score. Rows are multiplied from the right: x becomes x R.
 */
import { ModelError } from '../errors.ts';
import { GraphBuilder, type ValueName } from './builder.ts';
import { bytesOf, type Constant, type Graph, type GraphNode } from './ir.ts';
import { linearsOf } from './linears.ts';

export interface SquareMatrix {
  readonly size: number;
  /** [size, size], row-major */
  readonly values: Float32Array;
}

/**
 * R = left ⊗ right for a row of left.size * right.size values, as two small products: a Hadamard matrix of n = a b values costs
 * n (a + b) instead of n². Without one of them the other stands beside an identity: right alone turns each run of its size (each
 * head), left alone mixes left.size runs (heads).
 */
export type InputRotation =
  | { readonly left: SquareMatrix; readonly right?: SquareMatrix }
  | { readonly left?: SquareMatrix; readonly right: SquareMatrix };

/** By module, as in `InputSchemes`. Linears that read one value and name the same rotation object share the product. */
export type InputRotations = ReadonlyMap<string, InputRotation>;

/**
 * Multiplies the inputs of linears. Goes before `quantizeInputs`, which then sees what is rotated.
 * @throws ModelError for a module that the graph does not have or a rotation of another width
 */
export function rotateInputs(graph: Graph, rotations: InputRotations): Graph {
  const places = linearsOf(graph);
  const widths = new Map([...places.values()].map(({ module, width }) => [module, width]));
  for (const [module, rotation] of rotations) {
    const width = widths.get(module);
    if (width === undefined)
      throw new ModelError({ what: 'the graph has no such linear layer to rotate the input of', where: module });
    checkWidth(module, rotation, width);
  }
  const made = new Map<ValueName, Map<InputRotation, ValueName>>();
  const pass = new Insertion(graph);
  for (const node of graph.nodes) {
    const module = places.get(node.name)?.module ?? '';
    const rotation = rotations.get(module);
    if (!rotation) {
      pass.nodes.push(node);
      continue;
    }
    const [x, weight] = node.inputs as [ValueName, ValueName];
    const known = made.get(x) ?? new Map<InputRotation, ValueName>();
    made.set(x, known);
    const name = known.get(rotation) ?? `${node.name}.rotated`;
    if (!known.has(rotation)) pass.write(name, (b) => turned(b, pass, x, rotation, widths.get(module)!, name));
    known.set(rotation, name);
    pass.nodes.push({ ...node, inputs: [name, weight] });
  }
  return pass.graph();
}

/**
 * R3: multiplies queries and keys of every layer, head by head, after the rotary embedding; a cache then holds rotated keys.
 * @throws ModelError for a graph without attention or a matrix that is not of a head's size
 */
export function rotateHeads(graph: Graph, right: SquareMatrix, headDim: number): Graph {
  checkWidth('queries and keys', { right }, headDim);
  if (right.size !== headDim) throw new ModelError({ what: 'R3 turns whole heads', value: right.size, limit: headDim });
  const pass = new Insertion(graph);
  for (const node of graph.nodes) {
    const { name } = node;
    if (!/self_attn\.(query|key)$/.test(name)) {
      pass.nodes.push(node);
      continue;
    }
    // What is rotated takes the name, so that other passes find it.
    const plain = `${name}.plain`;
    pass.nodes.push({ ...node, name: plain, outputs: [plain] });
    pass.write(plain, (b) => b.matmul(plain, pass.matrix(b, right), { name }));
  }
  if (pass.nodes.length === graph.nodes.length)
    throw new ModelError({ what: 'the graph has no attention whose heads could be rotated', where: graph.name });
  return pass.graph();
}

/** Nodes and constants between those of a graph. */
class Insertion {
  readonly nodes: GraphNode[] = [];
  readonly #graph: Graph;
  readonly #constants: Map<string, Constant>;
  readonly #matrices = new Map<SquareMatrix, ValueName>();

  constructor(graph: Graph) {
    this.#graph = graph;
    this.#constants = new Map(graph.constants);
  }

  write(scope: string, body: (b: GraphBuilder) => void): void {
    const b = new GraphBuilder(scope);
    b.scoped(scope, () => body(b));
    const part = b.build();
    this.nodes.push(...part.nodes);
    for (const [name, constant] of part.constants) this.#constants.set(name, constant);
  }

  /** A matrix is one constant, however many linears it turns. */
  matrix(b: GraphBuilder, one: SquareMatrix): ValueName {
    let name = this.#matrices.get(one);
    for (let i = 0; name === undefined; i++) if (!this.#constants.has(`rotation.${i}`)) name = `rotation.${i}`;
    this.#matrices.set(one, name);
    const constant: Constant = { type: 'f32', dims: [one.size, one.size], bytes: bytesOf(one.values) };
    this.#constants.set(name, constant);
    return b.shared(name, () => constant);
  }

  graph(): Graph {
    return { ...this.#graph, nodes: this.nodes, constants: this.#constants };
  }
}

function checkWidth(where: string, { left, right }: InputRotation, width: number): void {
  for (const one of [left, right]) {
    if (one && one.values.length !== one.size ** 2)
      throw new ModelError({ what: 'a rotation is not square', where, value: one.values.length, limit: one.size ** 2 });
  }
  const size = (left?.size ?? 1) * (right?.size ?? 1);
  const fits = left && right ? size === width : width % size === 0;
  if (!fits) throw new ModelError({ what: 'a rotation does not fit what it turns', where, value: size, limit: width });
}

/** x [B, T, width] -> x R: with rows as matrices [a, b], leftᵀ X right. */
function turned(
  b: GraphBuilder,
  pass: Insertion,
  x: ValueName,
  { left, right }: InputRotation,
  width: number,
  name: string,
): ValueName {
  const columns = right?.size ?? width / left!.size;
  const split = b.reshape(x, 0, 0, width / columns, columns);
  const half = right ? b.matmul(split, pass.matrix(b, right)) : split;
  const whole = left ? b.matmul(b.transpose(pass.matrix(b, left), 1, 0), half) : half;
  return b.node('Reshape', [whole, b.ints(0, 0, width)], { name });
}
