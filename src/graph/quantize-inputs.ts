/**
 * The pass that quantizes what goes into linear layers while the model runs: scale and zero come from the values themselves (dynamic),
 * values become codes and floats again (fake quantization), so that the graph computes what an integer runtime computes up to the
 * order of its sums. Arithmetic as in compressed-tensors: f32, ties to even, 0 inside the range, ε of f32 where all values are 0.
 */
import { ModelError, RecipeError } from '../errors.ts';
import { floatTypes } from '../numeric/float.ts';
import { integerGrid } from '../quantize/grid/integer.ts';
import type { ActivationScheme } from '../quantized/types.ts';
import { GraphBuilder, type ValueName } from './builder.ts';
import type { Constant, Graph, GraphNode } from './ir.ts';

/** By module: 'model.layers.0.self_attn.q_proj' (of a tied head 'model.embed_tokens'). */
export type InputSchemes = ReadonlyMap<string, ActivationScheme>;

/**
 * Inserts fake quantization in front of the linears that `schemes` names. Linears with one input and one scheme share it.
 * @throws ModelError for a module that the graph does not have, RecipeError for a scheme that cannot be computed from the values
 */
export function quantizeInputs(graph: Graph, schemes: InputSchemes): Graph {
  const modules = linearsOf(graph);
  const known = new Set(modules.values());
  for (const [module, scheme] of schemes) {
    checkScheme(module, scheme);
    if (!known.has(module))
      throw new ModelError({ what: 'the graph has no such linear layer to quantize the input of', where: module });
  }
  const nodes: GraphNode[] = [];
  const constants = new Map<string, Constant>(graph.constants);
  const made = new Map<string, ValueName>();
  for (const node of graph.nodes) {
    const scheme = schemes.get(modules.get(node.name) ?? '');
    if (!scheme) {
      nodes.push(node);
      continue;
    }
    const [x, weight] = node.inputs as [ValueName, ValueName];
    const label = schemeKey(scheme);
    const name = `${x}.${label}`;
    if (!made.has(name)) {
      const part = fakeQuantization(x, name, scheme);
      nodes.push(...part.nodes);
      for (const [key, constant] of part.constants) constants.set(key, constant);
      made.set(name, name);
    }
    nodes.push({ ...node, inputs: [name, weight] });
  }
  return { ...graph, nodes, constants };
}

/** The module of each linear by the name of its node: a MatMul with a transposed weight of the model on its right. */
export function linearsOf({ nodes, inputs, constants }: Graph): Map<string, string> {
  const weights = new Set([...inputs.filter(({ weight }) => weight).map(({ name }) => name), ...constants.keys()]);
  const transposed = new Map<string, string>();
  const linears = new Map<string, string>();
  for (const { op, name, inputs: from, outputs } of nodes) {
    if (op === 'Transpose' && weights.has(from[0]!)) transposed.set(outputs[0]!, from[0]!.replace(/\.weight$/, ''));
    const module = op === 'MatMul' ? transposed.get(from[1]!) : undefined;
    if (module !== undefined) linears.set(name, module);
  }
  return linears;
}

function checkScheme(module: string, { dynamic, per, bits }: ActivationScheme): void {
  integerGrid(bits, true);
  if (!dynamic || per === 'channel') {
    throw new RecipeError({
      what: `${dynamic ? 'scales per channel' : 'static scales'} of an input have to be known before the model runs`,
      where: module,
      next: 'quantize inputs dynamically, per token, tensor or group',
    });
  }
}

function schemeKey({ bits, symmetric, per }: ActivationScheme): string {
  return `int${bits}.${typeof per === 'string' ? per : `g${per.group}`}.${symmetric ? 'sym' : 'asym'}`;
}

/** x [B, T, in] -> x̂, called `name`, as nodes and constants of their own names. */
function fakeQuantization(x: ValueName, name: string, scheme: ActivationScheme): Graph {
  const b = new GraphBuilder(name);
  b.scoped(name, () => {
    if (typeof scheme.per === 'string') return roundTrip(b, x, scheme, name);
    const grouped = b.reshape(x, 0, 0, -1, scheme.per.group); // [B, T, in / group, group]
    return b.node('Reshape', [roundTrip(b, grouped, scheme), b.ints(0, 0, -1)], { name });
  });
  return b.build();
}

/** x̂ of x, whose last axis shares a scale (with all others where the scheme is per tensor). */
function roundTrip(b: GraphBuilder, x: ValueName, { bits, symmetric, per }: ActivationScheme, name?: string): ValueName {
  const { qMin, qMax, half } = integerGrid(bits, true);
  const reduce = (op: 'ReduceMin' | 'ReduceMax', value: ValueName) =>
    b.node(op, per === 'tensor' ? [value] : [value, b.ints(-1)], { attributes: { keepdims: { int: 1 } } });
  const notZero = (scale: ValueName) =>
    b.node('Where', [b.node('Equal', [scale, b.float(0)]), b.float(floatTypes.f32.epsilon), scale]);
  const toGrid = (value: ValueName) => b.node('Clip', [b.node('Round', [value]), b.float(qMin), b.float(qMax)]);
  const divide = (value: ValueName, by: ValueName) => b.node('Div', [value, by]);
  const last = name === undefined ? {} : { name };

  if (symmetric) {
    const scale = notZero(divide(reduce('ReduceMax', b.node('Abs', [x])), b.float(half - 0.5)));
    return b.node('Mul', [toGrid(divide(x, scale)), scale], last);
  }
  const min = b.node('Min', [reduce('ReduceMin', x), b.float(0)]);
  const max = b.node('Max', [reduce('ReduceMax', x), b.float(0)]);
  const scale = notZero(divide(b.node('Sub', [max, min]), b.float(2 * half - 1)));
  const zero = toGrid(b.node('Sub', [b.float(qMin), divide(min, scale)]));
  const codes = toGrid(b.add(divide(x, scale), zero));
  return b.node('Mul', [b.node('Sub', [codes, zero]), scale], last);
}
