/** Where the linear layers of a graph are. */
import type { Graph } from './ir.ts';

export interface Linear {
  /** 'model.layers.0.self_attn.q_proj', of a tied head 'model.embed_tokens'. */
  readonly module: string;
  /** Name of the weight, [out, in]. */
  readonly weight: string;
  /** Inputs and outputs. */
  readonly width: number;
  readonly outputs: number;
}

/** By the name of its node: a MatMul with a transposed weight of the model on its right. */
export function linearsOf({ nodes, inputs, constants }: Graph): Map<string, Linear> {
  const dims = new Map<string, readonly (number | string)[]>([
    ...inputs.filter(({ weight }) => weight).map((one) => [one.name, one.dims] as const),
    ...[...constants].map(([name, one]) => [name, one.dims] as const),
  ]);
  const transposed = new Map<string, string>();
  const linears = new Map<string, Linear>();
  for (const { op, name, inputs: from, outputs } of nodes) {
    if (op === 'Transpose' && dims.has(from[0]!)) transposed.set(outputs[0]!, from[0]!);
    const weight = op === 'MatMul' ? transposed.get(from[1]!) : undefined;
    if (weight === undefined) continue;
    const [out, width] = dims.get(weight)!.map(Number) as [number, number];
    linears.set(name, { module: weight.replace(/\.weight$/, ''), weight, width, outputs: out });
  }
  return linears;
}
