/** The matrix products of a model's step alone, at its own shapes: what of a step they take, and whether they reach the probed rate. */
import {
  applyPasses,
  bindWeights,
  createSession,
  GraphBuilder,
  type GraphTensor,
  keepOutputs,
  linearsOf,
  type RuntimeOptions,
  type WeightReader,
} from '../../graph/index.ts';
import { headWeight } from '../../graph/model.ts';
import { linearOf, type ModelSpec, type ModelTensor, modelTensors, type Role, roleGroups } from '../../model/index.ts';
import { repeated } from './clock.ts';
import type { CodedLinears, Kernel } from './kernels.ts';

export interface Products {
  /** Seconds of all products of a step with so many rows of inputs, quantization of these inputs included. */
  seconds(rows: number): Promise<number>;
  close(): Promise<void>;
}

/** Sessions of the first layer's linears, which stand for all layers, and of the output matrix. */
export async function openProducts(
  spec: ModelSpec,
  reader: WeightReader,
  kernel: Kernel,
  linears: CodedLinears | undefined,
  runtime: RuntimeOptions,
): Promise<Products> {
  const roles: readonly Role[] = roleGroups.linear;
  const tensors = modelTensors(spec);
  const layer = tensors.filter((tensor) => tensor.layer === 0 && roles.includes(tensor.role) && tensor.shape.length === 2);
  const head = tensors.filter(({ name }) => name === headWeight(spec));
  const parts = await Promise.all(
    [layer, head].map(async (matrices) => {
      const graph = await productGraph(matrices, reader, kernel, linears);
      return { session: await createSession(graph, runtime), widths: new Set(matrices.map(({ shape }) => shape[1]!)) };
    }),
  );
  const empty = await createSession(nothing(), runtime);
  const nothingIn: Record<string, GraphTensor> = { x: { type: 'f32', dims: [1, 32], data: new Float32Array(32) } };
  return {
    seconds: async (rows) => {
      const call = (await repeated(() => empty.run(nothingIn), 0.02)).typical;
      const times: number[] = [];
      for (const { session, widths } of parts) {
        const feeds = Object.fromEntries(
          [...widths].map((width): [string, GraphTensor] => [
            `x.${width}`,
            {
              type: 'f32',
              dims: [rows, width],
              data: Float32Array.from({ length: rows * width }, (_, i) => (i % 255) / 127 - 1),
            },
          ]),
        );
        const { typical } = await repeated(() => session.run(feeds), 0.05);
        times.push(Math.max(typical - call, typical / 4));
      }
      return spec.layers * times[0]! + times[1]!;
    },
    close: async () => {
      for (const { session } of parts) await session.close();
      await empty.close();
    },
  };
}

/** Each matrix times the input of its width; of a row of outputs only the largest leaves the graph. */
async function productGraph(
  matrices: readonly ModelTensor[],
  reader: WeightReader,
  kernel: Kernel,
  linears: CodedLinears | undefined,
) {
  const b = new GraphBuilder('products');
  const inputs = new Set<number>();
  for (const { name, shape } of matrices) {
    const [, width] = shape as [number, number];
    if (!inputs.has(width)) b.input(`x.${width}`, 'f32', ['N', width]);
    inputs.add(width);
    const y = b.matmul(`x.${width}`, b.transpose(b.weight(name, shape), 1, 0), { name: linearOf(name) });
    const most = b.node('ReduceMax', [y, b.ints(-1)], { attributes: { keepdims: { int: 0 } } });
    b.output(`y.${name}`, most, 'f32', ['N']);
  }
  const graph = b.build();
  const here = new Set([...linearsOf(graph).values()].map(({ module }) => module));
  const coded = new Map([...(linears ?? [])].filter(([module]) => here.has(module)));
  const passed = kernel.pass && linears ? applyPasses(graph, [kernel.pass(coded)]) : graph;
  const names = passed.outputs.map(({ name }) => name);
  return bindWeights(keepOutputs(passed, names), reader);
}

function nothing() {
  const b = new GraphBuilder('nothing');
  const x = b.input('x', 'f32', ['N', 32]);
  b.output('y', b.node('ReduceMax', [x, b.ints(-1)], { attributes: { keepdims: { int: 0 } } }), 'f32', ['N']);
  return b.build();
}
