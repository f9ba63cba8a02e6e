/**
 * The kernels that are measured: how the weights of linears are quantized for each, the pass that brings it into a graph, and what the
 * roofline takes it for. The output matrix is quantized as the linears; lookups, norms and attention stay f32.
 */
import {
  type DynamicLinears,
  dynamicLinears,
  type InputSchemes,
  type IntegerLinears,
  integerLinears,
  type PackedLinear,
  type PackedLinears,
  type Pass,
  packedLinears,
  type WeightReader,
} from '../../graph/index.ts';
import { headWeight } from '../../graph/model.ts';
import type { Precision } from '../../hardware/index.ts';
import { linearOf, type ModelSpec, modelTensors, type Role, roleGroups } from '../../model/index.ts';
import { quantizeMatrix } from '../../quantize/index.ts';
import type { ActivationScheme } from '../../quantized/types.ts';

export const kernelNames = ['f32', 'int8', 'int8-token', 'int4', 'int4-int8'] as const;
export type KernelName = (typeof kernelNames)[number];

/** Integer weights of a matrix, and what they stand for. */
interface Coded {
  /** [out, in]; int8 signed, int4 0 to 15. */
  codes: Int8Array | Uint8Array;
  scale: Float32Array;
  block?: number;
  /** f32 [out, in] */
  dequantized: () => Float32Array;
}

export type CodedLinears = ReadonlyMap<string, Coded>;

type Weights = 'f32' | 'int8' | 'int4';

export interface Kernel {
  name: KernelName;
  title: string;
  weights: Weights;
  /** What inputs are quantized to; left out: f32. */
  input?: ActivationScheme;
  /** The type in which products are computed. */
  compute: Precision['compute'];
  pass?: (linears: CodedLinears) => Pass;
}

const perTensor: ActivationScheme = { bits: 8, symmetric: false, dynamic: true, per: 'tensor' };
const perToken: ActivationScheme = { bits: 8, symmetric: true, dynamic: true, per: 'token' };

export const kernels: Readonly<Record<KernelName, Kernel>> = {
  f32: { name: 'f32', title: 'FP32', weights: 'f32', compute: 'fp32' },
  int8: {
    name: 'int8',
    title: 'W8A8, inputs quantized as a whole (fused)',
    weights: 'int8',
    input: perTensor,
    compute: 'int8',
    pass: (linears) => (graph) => dynamicLinears(graph, linears as DynamicLinears),
  },
  'int8-token': {
    name: 'int8-token',
    title: 'W8A8, inputs quantized token by token',
    weights: 'int8',
    input: perToken,
    compute: 'int8',
    pass: (linears) => {
      const weights = new Map([...linears].map(([name, weight]) => [name, { weight, input: perToken }])) as IntegerLinears;
      return (graph) => integerLinears(graph, weights);
    },
  },
  int4: {
    name: 'int4',
    title: 'W4, products in f32',
    weights: 'int4',
    compute: 'fp32',
    pass: (linears) => (graph) => packedLinears(graph, linears as PackedLinears),
  },
  'int4-int8': {
    name: 'int4-int8',
    title: 'W4, products in int8',
    weights: 'int4',
    compute: 'int8',
    pass: (linears) => {
      const weights = [...linears].map(([name, one]) => [name, { ...(one as PackedLinear), inputs: 'int8' as const }] as const);
      return (graph) => packedLinears(graph, new Map(weights));
    },
  },
};

/** Blocks of `int4` where the width allows. */
export const defaultBlock = 32;

/** What the roofline counts: the matrices that are multiplied at the kernel's bits, all else at 32. */
export function precisionOfKernel({ title, weights, input, compute }: Kernel, spec: ModelSpec, block = defaultBlock): Precision {
  const roles: Role[] = [...roleGroups.linear, spec.tied ? 'embedding' : 'output'];
  const storage = {
    f32: { bits: 32 },
    int8: { bits: 8, group: -1, scaleBits: 32, zeroBits: 0 },
    int4: { bits: 4, group: block, scaleBits: 32, zeroBits: 0 },
  }[weights];
  return { name: title, storage, activationBits: input ? 8 : 32, compute, roles, keptBits: 32 };
}

/**
 * The linears of a model as a kernel wants them, by module: int8 with a scale for each output, int4 with one for each block of inputs.
 * A matrix whose width no block divides is left out, and stays f32.
 */
export async function quantizedLinears(
  spec: ModelSpec,
  reader: WeightReader,
  weights: Exclude<Weights, 'f32'>,
  block = defaultBlock,
): Promise<CodedLinears> {
  const linears = new Map<string, Coded>();
  const roles: readonly Role[] = roleGroups.linear;
  const head = headWeight(spec);
  for (const { name, shape, role } of modelTensors(spec)) {
    if (shape.length !== 2 || !(roles.includes(role) || name === head)) continue;
    const [rows, cols] = shape as [number, number];
    const size = weights === 'int4' ? blockOf(cols, block) : undefined;
    if (weights === 'int4' && size === undefined) continue;
    const { tile, dequantized } = quantizeMatrix(await reader(name), [rows, cols], {
      kind: 'integer',
      bits: weights === 'int8' ? 8 : 4,
      symmetric: true,
      signed: true,
      granularity: size === undefined ? 'channel' : { group: size },
      range: 'absmax-narrow',
      scaleType: 'f32',
    });
    const codes = weights === 'int8' ? Int8Array.from(tile.codes, (code) => code - 128) : (tile.codes as Uint8Array);
    linears.set(linearOf(name), { codes, scale: tile.scale!.values, ...(size && { block: size }), dequantized });
  }
  return linears;
}

function blockOf(cols: number, most: number): number | undefined {
  for (let block = most; block >= 16; block /= 2) if (cols % block === 0) return block;
  return undefined;
}

/** The same model in floats: weights that the codes stand for, inputs rounded where the kernel rounds them. */
export function simulationOf(
  { input }: Kernel,
  linears: CodedLinears,
  reader: WeightReader,
): { reader: WeightReader; inputs: InputSchemes } {
  return {
    reader: async (name) => linears.get(linearOf(name))?.dequantized() ?? reader(name),
    inputs: new Map(input ? [...linears.keys()].map((module) => [module, input]) : []),
  };
}
