/**
 * The pass that quantizes what goes into linear layers while the model runs: values become codes and floats again (fake quantization),
 * so that the graph computes what an integer runtime computes up to the order of its sums. Scale and zero come from the values
 * themselves (dynamic) or from a range that is known before (static); `quantize/activations.ts` has the formulas.
 */
import { ModelError } from '../errors.ts';
import { checkActivations } from '../quantize/activations.ts';
import type { ActivationScheme } from '../quantized/types.ts';
import { GraphBuilder, type ValueName } from './builder.ts';
import { inputCodes } from './input-codes.ts';
import type { Constant, Graph, GraphNode } from './ir.ts';
import { type Linear, linearsOf } from './linears.ts';

/** By module: 'model.layers.0.self_attn.q_proj' (of a tied head 'model.embed_tokens'). */
export type InputSchemes = ReadonlyMap<string, ActivationScheme>;

/**
 * Inserts fake quantization in front of the linears that `schemes` names. Linears with one input and one scheme share it.
 * @throws ModelError for a module that the graph does not have, RecipeError for a scheme that cannot be computed from the values
 */
export function quantizeInputs(graph: Graph, schemes: InputSchemes): Graph {
  const linears = checked(graph, schemes);
  const nodes: GraphNode[] = [];
  const constants = new Map<string, Constant>(graph.constants);
  const made = new Map<string, ValueName>();
  for (const node of graph.nodes) {
    const scheme = schemes.get(linears.get(node.name)?.module ?? '');
    if (!scheme) {
      nodes.push(node);
      continue;
    }
    const [x, weight] = node.inputs as [ValueName, ValueName];
    const key = `${x} ${JSON.stringify(scheme)}`;
    let name = made.get(key);
    if (name === undefined) {
      const same = `${x}.${schemeKey(scheme)}`;
      const others = [...made.values()].filter((one) => one.startsWith(same)).length;
      name = others === 0 ? same : `${same}.${others}`;
      const part = fakeQuantization(x, name, scheme);
      nodes.push(...part.nodes);
      for (const [key, constant] of part.constants) constants.set(key, constant);
      made.set(key, name);
    }
    nodes.push({ ...node, inputs: [name, weight] });
  }
  return { ...graph, nodes, constants };
}

/** The linears by the names of their nodes, once all modules and schemes are known to fit. */
function checked(graph: Graph, schemes: InputSchemes): Map<string, Linear> {
  const linears = linearsOf(graph);
  const widths = new Map([...linears.values()].map(({ module, width }) => [module, width]));
  for (const [module, scheme] of schemes) {
    checkActivations(scheme, module, widths.get(module));
    if (!widths.has(module))
      throw new ModelError({ what: 'the graph has no such linear layer to quantize the input of', where: module });
  }
  return linears;
}

function schemeKey({ bits, float, symmetric, dynamic, per, threshold }: ActivationScheme): string {
  const grid = float ?? `int${bits}`;
  const sharing = typeof per === 'string' ? per : `g${per.group}`;
  return `${grid}.${sharing}.${symmetric ? 'sym' : 'asym'}${dynamic ? '' : '.static'}${threshold === undefined ? '' : '.outliers'}`;
}

/** Columns that hold a value of at least `threshold` in what the linear sees at once, as in bitsandbytes: x [B, T, in] -> bool [1, 1, in]. */
function outlierColumns(b: GraphBuilder, x: ValueName, threshold: number): ValueName {
  const most = b.node('ReduceMax', [b.node('Abs', [x]), b.ints(0, 1)], { attributes: { keepdims: { int: 1 } } });
  return b.node('GreaterOrEqual', [most, b.float(threshold)]);
}

/** x [B, T, in] -> x̂, called `name`, as nodes and constants of their own names. */
function fakeQuantization(x: ValueName, name: string, scheme: ActivationScheme): Graph {
  const b = new GraphBuilder(name);
  b.scoped(name, () => {
    const { per, threshold } = scheme;
    // Outliers are 0 for the rest, so that they do not widen its scale, and are put back as they are.
    const kept = threshold === undefined ? undefined : outlierColumns(b, x, threshold);
    const rest = kept === undefined ? x : b.node('Where', [kept, b.float(0), x]);
    const grouped = typeof per === 'object' ? b.reshape(rest, 0, 0, -1, per.group) : rest; // [B, T, in / group, group]
    const { codes, scale, zero } = inputCodes(b, grouped, scheme, name);
    const steps = zero === undefined ? codes : b.node('Sub', [codes, zero]);
    if (kept !== undefined) b.node('Where', [kept, x, b.mul(steps, scale)], { name });
    else if (typeof per === 'object') b.node('Reshape', [b.mul(steps, scale), b.ints(0, 0, -1)], { name });
    else b.node('Mul', [steps, scale], { name });
  });
  return b.build();
}
