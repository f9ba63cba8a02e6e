/**
 * The pass that computes linears in integers with one dynamic scale and zero for a whole input: DynamicQuantizeLinear, MatMulInteger of
 * u8 by s8, a cast and a factor. ONNX Runtime fuses the four into one or two kernels of its own, so that this is the fastest W8A8 it has;
 * `integerLinears` has scales by token and every other scheme, as operators one by one.
 */
import { ModelError } from '../errors.ts';
import { GraphBuilder } from './builder.ts';
import { bytesOf, type Constant, type Graph, type GraphNode } from './ir.ts';
import { type Linear, linearsOf } from './linears.ts';
import { cast } from './number-nodes.ts';
import { keepOutputs } from './taps.ts';

export interface DynamicLinear {
  /** [out, in] */
  codes: Int8Array;
  /** [out] */
  scale: Float32Array;
}

/** By module, as in `InputSchemes`. */
export type DynamicLinears = ReadonlyMap<string, DynamicLinear>;

/**
 * Replaces the f32 products of these linears; weights that nobody reads any more are gone from the graph.
 * @throws ModelError for a module that the graph does not have or weights of another shape
 */
export function dynamicLinears(graph: Graph, linears: DynamicLinears): Graph {
  const places = linearsOf(graph);
  const found = new Map([...places.values()].map((linear) => [linear.module, linear]));
  for (const [module, linear] of linears) check(module, linear, found.get(module));
  const nodes: GraphNode[] = [];
  const constants = new Map<string, Constant>(graph.constants);
  const made = new Map<string, InputBytes>();
  for (const node of graph.nodes) {
    const place = places.get(node.name);
    const linear = place && linears.get(place.module);
    if (!linear) {
      nodes.push(node);
      continue;
    }
    const b = new GraphBuilder(node.name);
    b.scoped(`${node.name}.dynamic`, () => {
      const x = node.inputs[0]!;
      const input = made.get(x) ?? dynamicInput(b, x);
      made.set(x, input);
      dynamicProduct(b, input, node.name, linear, place);
    });
    const part = b.build();
    nodes.push(...part.nodes);
    for (const [name, constant] of part.constants) constants.set(name, constant);
  }
  return keepOutputs(
    { ...graph, nodes, constants },
    graph.outputs.map(({ name }) => name),
  );
}

/** u8 codes of an input, its scale and its zero. */
export type InputBytes = readonly [codes: string, scale: string, zero: string];

export function dynamicInput(b: GraphBuilder, x: string): InputBytes {
  const [codes, scale, zero] = b.nodes('DynamicQuantizeLinear', [x], { outputs: 3 });
  return [codes!, scale!, zero!];
}

/** y [.., out], called `name`, = s_x s_o Σ (x - z) w; its constants are called after the module. */
function dynamicProduct(
  b: GraphBuilder,
  [codes, scale, zero]: InputBytes,
  name: string,
  weight: DynamicLinear,
  { module, width, outputs }: Pick<Linear, 'module' | 'width' | 'outputs'>,
): string {
  const right = b.constant(`${module}.codes`, {
    type: 'i8',
    dims: [width, outputs],
    bytes: bytesOf(transposed(weight.codes, outputs, width)),
  });
  const factors = b.constant(`${module}.scale`, { type: 'f32', dims: [outputs], bytes: bytesOf(weight.scale) });
  const products = cast(b, b.node('MatMulInteger', [codes, right, zero]), 'f32');
  return b.node('Mul', [products, b.mul(scale, factors)], { name });
}

function check(module: string, { codes, scale }: DynamicLinear, place: Linear | undefined): void {
  if (!place) throw new ModelError({ what: 'the graph has no such linear layer to compute in integers', where: module });
  if (codes.length === place.outputs * place.width && scale.length === place.outputs) return;
  throw new ModelError({
    what: 'integer weights have the wrong shape',
    where: module,
    value: `${codes.length} codes, ${scale.length} scales`,
    limit: `[${place.outputs}, ${place.width}]`,
  });
}

/** [rows, cols] -> [cols, rows] */
export function transposed(codes: Int8Array, rows: number, cols: number): Int8Array {
  const out = new Int8Array(codes.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) out[c * rows + r] = codes[r * cols + c]!;
  return out;
}
