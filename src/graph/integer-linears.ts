/**
 * The pass that lets linears compute in integers: the input becomes 8-bit codes, MatMulInteger multiplies them with the weights' codes
 * exactly in 32 bits, and scales and zero points follow by the four terms of quantize/affine-product.ts. Inputs are fed as u8 with 128
 * added, which ONNX Runtime multiplies 14 to 100 times faster by s8 weights than s8 codes.
 */
import { ModelError, RecipeError } from '../errors.ts';
import { checkActivations } from '../quantize/activations.ts';
import { type AffineWeights, weightSums } from '../quantize/affine-product.ts';
import type { ActivationScheme } from '../quantized/types.ts';
import { GraphBuilder } from './builder.ts';
import { transposed } from './dynamic-linears.ts';
import { type InputCodes, inputCodes } from './input-codes.ts';
import { bytesOf, type Constant, type Graph, type GraphNode } from './ir.ts';
import { type Linear, linearsOf } from './linears.ts';
import { cast } from './number-nodes.ts';
import { keepOutputs } from './taps.ts';

export interface IntegerLinear {
  /** Codes [out, in] of a signed grid of at most 8 bits, a scale and maybe a zero for each output. */
  weight: AffineWeights & { codes: Int8Array };
  /** Integers per token or tensor. */
  input: ActivationScheme;
}

/** By module, as in `InputSchemes`. */
export type IntegerLinears = ReadonlyMap<string, IntegerLinear>;

/**
 * Replaces the f32 products of these linears; weights that nobody reads any more are gone from the graph.
 * @throws ModelError for a module that the graph does not have or weights of another shape, RecipeError for other inputs
 */
export function integerLinears(graph: Graph, linears: IntegerLinears): Graph {
  const places = linearsOf(graph);
  const found = new Map([...places.values()].map((linear) => [linear.module, linear]));
  for (const [module, linear] of linears) check(module, linear, found.get(module));
  const nodes: GraphNode[] = [];
  const constants = new Map<string, Constant>(graph.constants);
  const made = new Map<string, InputCodes & { bytes: string }>();
  for (const node of graph.nodes) {
    const module = places.get(node.name)?.module ?? '';
    const linear = linears.get(module);
    if (!linear) {
      nodes.push(node);
      continue;
    }
    const x = node.inputs[0]!;
    const key = `${x} ${JSON.stringify(linear.input)}`;
    const b = new GraphBuilder(node.name);
    b.scoped(`${node.name}.integer`, () => {
      const scope = `${node.name}.input`;
      const input = made.get(key) ?? bytesOfInput(b, x, linear.input, scope);
      made.set(key, input);
      product(b, node.name, module, input, linear.weight, found.get(module)!);
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

function check(module: string, { weight, input }: IntegerLinear, place: Linear | undefined): void {
  if (!place) throw new ModelError({ what: 'the graph has no such linear layer to compute in integers', where: module });
  checkActivations(input, module, place.width);
  if (input.float !== undefined || (input.per !== 'token' && input.per !== 'tensor')) {
    throw new RecipeError({
      what: 'integer products need inputs of integers, per token or tensor',
      where: module,
      value: input.float ?? input.per,
      next: 'simulate this scheme with quantizeInputs',
    });
  }
  const { codes, scale, zero } = weight;
  const wrong = codes.length !== place.outputs * place.width || scale.length !== place.outputs;
  if (wrong || (zero && zero.length !== place.outputs)) {
    throw new ModelError({
      what: 'integer weights have the wrong shape',
      where: module,
      value: `${codes.length} codes, ${scale.length} scales`,
      limit: `[${place.outputs}, ${place.width}]`,
    });
  }
}

/** Codes + 128 as u8 beside what they mean. */
function bytesOfInput(b: GraphBuilder, x: string, scheme: ActivationScheme, scope: string): InputCodes & { bytes: string } {
  const found = inputCodes(b, x, scheme, scope);
  return { ...found, bytes: cast(b, b.add(found.codes, b.float(128)), 'u8') };
}

/** y [.., out], called `name`, = s_x s_o (Σ x w - z_x Σ w - z_o Σ (x - z_x)). */
function product(
  b: GraphBuilder,
  name: string,
  module: string,
  { bytes, codes, scale, zero }: InputCodes & { bytes: string },
  weight: AffineWeights & { codes: Int8Array },
  { width, outputs }: Linear,
): void {
  const byOutput = (what: string, data: ArrayLike<number>) =>
    b.constant(`${module}.${what}`, { type: 'f32', dims: [outputs], bytes: bytesOf(Float32Array.from(data)) });
  const right = b.constant(`${module}.codes`, {
    type: 'i8',
    dims: [width, outputs],
    bytes: bytesOf(transposed(weight.codes, outputs, width)),
  });
  const middle = b.shared('u8.128', () => ({ type: 'u8', dims: [], bytes: Uint8Array.of(128) }));
  const products = cast(b, b.node('MatMulInteger', [bytes, right, middle]), 'f32');
  const terms = [products];
  if (zero !== undefined) terms.push(b.mul(zero, byOutput('sums', weightSums(weight))));
  if (weight.zero) {
    const steps = zero === undefined ? codes : b.node('Sub', [codes, zero]);
    const sum = b.node('ReduceSum', [steps, b.ints(-1)], { attributes: { keepdims: { int: 1 } } });
    terms.push(b.mul(sum, byOutput('zeros', weight.zero)));
  }
  const steps = terms.reduce((left, term) => b.node('Sub', [left, term]));
  b.node('Mul', [b.mul(steps, scale), byOutput('scale', weight.scale)], { name });
}
