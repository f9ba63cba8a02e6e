/**
 * The pass that gives linears ONNX Runtime's own kernel for weights of 4 bits: MatMulNBits (com.microsoft), which reads the codes as they
 * are and widens them in registers (few rows of inputs) or into a matrix of floats (many rows).
 */
import { ModelError } from '../errors.ts';
import { GraphBuilder } from './builder.ts';
import { bytesOf, type Constant, type Graph, type GraphNode } from './ir.ts';
import { type Linear, linearsOf } from './linears.ts';
import { keepOutputs } from './taps.ts';

export interface PackedLinear {
  /** [out, in], one a byte, 0 to 15. */
  codes: Uint8Array;
  /** [out, in / block] */
  scale: Float32Array;
  /** [out, in / block], 0 to 15; absent: 8. */
  zero?: Uint8Array;
  /** Consecutive inputs that share a scale: a power of two from 16 on. */
  block: number;
  /**
   * In what inputs and weights are multiplied: f32; or integers, for which the kernel rounds each block of an input to 8 bits
   * (accuracy_level 4: scale absmax / 127), another model than weights alone in 4 bits (f32).
   */
  inputs?: 'f32' | 'int8';
}

/** By module, as in `InputSchemes`. */
export type PackedLinears = ReadonlyMap<string, PackedLinear>;

/** The values of accuracy_level, whose 0 leaves the choice to the runtime. */
const accuracyLevels = { f32: 1, int8: 4 } as const;

/**
 * Replaces the f32 products of these linears; weights that nobody reads any more are gone from the graph.
 * @throws ModelError for a module that the graph does not have, weights of another shape, or blocks that the kernel does not know
 */
export function packedLinears(graph: Graph, linears: PackedLinears): Graph {
  const places = linearsOf(graph);
  const found = new Map([...places.values()].map((linear) => [linear.module, linear]));
  for (const [module, linear] of linears) check(module, linear, found.get(module));
  const nodes: GraphNode[] = [];
  const constants = new Map<string, Constant>(graph.constants);
  for (const node of graph.nodes) {
    const place = places.get(node.name);
    const linear = place && linears.get(place.module);
    if (!linear) {
      nodes.push(node);
      continue;
    }
    const b = new GraphBuilder(node.name);
    packedProduct(b, node.inputs[0]!, node.name, linear, place);
    const part = b.build();
    nodes.push(...part.nodes);
    for (const [name, constant] of part.constants) constants.set(name, constant);
  }
  return keepOutputs(
    { ...graph, nodes, constants },
    graph.outputs.map(({ name }) => name),
  );
}

/** x [.., in] -> y [.., out], called `name`; its constants are called after the module. */
function packedProduct(
  b: GraphBuilder,
  x: string,
  name: string,
  { codes, scale, zero, block, inputs = 'f32' }: PackedLinear,
  { module, width, outputs }: Pick<Linear, 'module' | 'width' | 'outputs'>,
): string {
  const blocks = width / block;
  const constant = (what: string, one: Constant) => b.constant(`${module}.${what}`, one);
  const from = [
    x,
    constant('codes', { type: 'u8', dims: [outputs, blocks, block / 2], bytes: nibbles(codes, width) }),
    constant('scale', { type: 'f32', dims: [outputs * blocks], bytes: bytesOf(scale) }),
  ];
  if (zero) {
    const packed = nibbles(zero, blocks);
    from.push(constant('zero', { type: 'u8', dims: [packed.length], bytes: packed }));
  }
  return fewBitsProduct(b, from, { name, width, outputs, bits: 4, block, inputs });
}

export interface FewBitsProduct {
  name?: string;
  width: number;
  outputs: number;
  /** 4 or 8. */
  bits: number;
  block: number;
  inputs?: PackedLinear['inputs'];
}

/** The node alone. @param from x [.., in], codes u8 [out, in / block, block bits / 8], scales and maybe zeros */
export function fewBitsProduct(
  b: GraphBuilder,
  from: readonly string[],
  { name, width, outputs, bits, block, inputs = 'f32' }: FewBitsProduct,
): string {
  return b.node('MatMulNBits', from, {
    name,
    domain: 'com.microsoft',
    attributes: {
      K: { int: width },
      N: { int: outputs },
      bits: { int: bits },
      block_size: { int: block },
      accuracy_level: { int: accuracyLevels[inputs] },
    },
  });
}

/** Rows of `cols` codes, two a byte, the even one low; an odd row ends in an empty half. */
function nibbles(codes: Uint8Array, cols: number): Uint8Array {
  const rows = codes.length / cols;
  const bytes = Math.ceil(cols / 2);
  const out = new Uint8Array(rows * bytes);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < cols; c++) out[r * bytes + (c >> 1)]! |= codes[r * cols + c]! << (4 * (c & 1));
  return out;
}

function check(module: string, { codes, scale, zero, block }: PackedLinear, place: Linear | undefined): void {
  if (!place) throw new ModelError({ what: 'the graph has no such linear layer to pack the weights of', where: module });
  const { width, outputs } = place;
  if (block < 16 || (block & (block - 1)) !== 0 || width % block !== 0)
    throw new ModelError({
      what: 'MatMulNBits needs blocks of a power of two that divide the row',
      where: module,
      value: block,
      limit: `16 or more, a divisor of ${width}`,
    });
  const levels = (outputs * width) / block;
  if (codes.length !== outputs * width || scale.length !== levels || (zero && zero.length !== levels))
    throw new ModelError({
      what: 'packed weights have the wrong shape',
      where: module,
      value: `${codes.length} codes, ${scale.length} scales`,
      limit: `[${outputs}, ${width}] in blocks of ${block}`,
    });
}
