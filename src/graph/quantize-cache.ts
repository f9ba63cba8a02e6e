/**
 * The pass that computes, in one pass over whole windows, what every position would see through a quantized key/value cache: scores
 * and sums are computed from exact and from quantized keys and values, and a mask says which of them a position sees. The graph gives
 * what step-by-step decoding gives up to the order of sums, which may turn a key or a code that is next to a tie.
 */
import type { ModelSpec } from '../model/types.ts';
import { minifloats } from '../numeric/minifloat.ts';
import { e4m3Max } from '../quantize/kv/groups.ts';
import { sylvester } from '../quantize/kv/hadamard.ts';
import { checkKvScheme, codeBits, hasMinimum, kvBlock, quantizedBefore } from '../quantize/kv/scheme.ts';
import type { KvScheme, KvSide } from '../quantized/types.ts';
import { GraphBuilder, type ValueName } from './builder.ts';
import { halfKeysValues } from './half-cache.ts';
import { bytesOf, type Constant, type Graph, type GraphNode } from './ir.ts';
import { notZero, reduce, roundTo, roundToF16, roundToMinifloat } from './number-nodes.ts';
import type { GraphTensor } from './types.ts';

/** Inputs that the pass adds: who sees whom quantized; the tokens of whole blocks; where in them a token is. */
const inputs = { quantized: 'kv.quantized', order: 'kv.order', place: 'kv.place' } as const;

/**
 * @param plain a model or layer without a cache
 * @throws RecipeError for a scheme that the model's heads cannot have, ModelError for a graph without attention
 */
export function quantizeCache(plain: Graph, spec: ModelSpec, scheme: KvScheme): Graph {
  checkKvScheme(scheme, spec.headDim);
  const graph = halfKeysValues(plain);
  const { heads, kvHeads, headDim } = spec;
  const byName = new Map(graph.nodes.map((node) => [node.name, node]));
  const nodes: GraphNode[] = [];
  const constants = new Map<string, Constant>(graph.constants);
  const add = (scope: string, write: (b: GraphBuilder) => void) => {
    const b = new GraphBuilder(scope);
    b.scoped(scope, () => write(b));
    const part = b.build();
    nodes.push(...part.nodes);
    for (const [name, constant] of part.constants) constants.set(name, constant);
  };

  for (const node of graph.nodes) {
    const found = /^(.*self_attn\.)(scores|mixed)$/.exec(node.name);
    if (!found) {
      nodes.push(node);
      continue;
    }
    const [name, module, what] = found as unknown as [string, string, string];
    const exact = `${name}.exact`;
    nodes.push({ ...node, name: exact, outputs: [exact] });
    if (what === 'scores') {
      add(`${module}key.cache`, (b) => {
        const keys = fakeCache(b, `${module}key`, scheme.key, scheme, spec);
        const queries = byName.get(`${module}products`)!.inputs[0]!;
        const products = b.matmul(queries, b.transpose(keys, 0, 2, 3, 1)); // [B, K, (H / K) T, S]
        const scores = b.reshape(b.mul(products, b.float(headDim ** -0.5)), 0, heads, -1, 0);
        b.node('Where', [inputs.quantized, scores, exact], { name });
      });
    } else {
      add(`${module}value.cache`, (b) => {
        const values = fakeCache(b, `${module}value`, scheme.value, scheme, spec);
        const errors = b.transpose(b.node('Sub', [values, `${module}value`]), 0, 2, 1, 3); // [B, K, S, D]
        const far = b.node('Where', [inputs.quantized, `${module}probabilities`, b.float(0)]);
        b.node('Add', [exact, b.matmul(b.reshape(far, 0, kvHeads, -1, 0), errors)], { name });
      });
    }
  }
  const blocks = [scheme.key, scheme.value].some(({ per }) => per === 'channel');
  return {
    ...graph,
    nodes,
    constants,
    inputs: [
      ...graph.inputs,
      { name: inputs.quantized, type: 'bool', dims: ['T', 'S'] },
      ...(blocks ? [{ name: inputs.order, type: 'i64', dims: ['kv.padded'] } as const] : []),
      ...(blocks ? [{ name: inputs.place, type: 'i64', dims: ['T'] } as const] : []),
    ],
  };
}

/** What the inputs of the pass are for sequences of `length` tokens; a graph may lack some of them. */
export function cacheFeeds(scheme: KvScheme, length: number): Record<string, GraphTensor> {
  const block = kvBlock(scheme);
  const { sinks } = scheme;
  const quantized = new Uint8Array(length * length);
  for (let t = 0; t < length; t++) {
    quantized.fill(1, t * length + sinks, t * length + sinks + quantizedBefore(scheme, t));
  }
  // The last block may be padded with copies of the last token: nobody sees an unfinished block quantized.
  const padded = Math.max(1, Math.ceil((length - sinks) / block)) * block;
  const order = BigInt64Array.from({ length: padded }, (_, i) => BigInt(Math.min(sinks + i, length - 1)));
  const place = BigInt64Array.from({ length }, (_, t) => BigInt(Math.max(0, t - sinks)));
  return {
    [inputs.quantized]: { type: 'bool', dims: [length, length], data: quantized },
    [inputs.order]: { type: 'i64', dims: [padded], data: order },
    [inputs.place]: { type: 'i64', dims: [length], data: place },
  };
}

/** x [B, T, K, D] as the cache gives it back; positions of unfinished blocks and sinks hold no meaning. */
function fakeCache(b: GraphBuilder, x: ValueName, side: KvSide, { hadamard }: KvScheme, spec: ModelSpec): ValueName {
  const { kvHeads, headDim } = spec;
  const rotated = hadamard ? b.matmul(x, hadamardConstant(b, headDim)) : x;
  const fake = fakeGroups(b, rotated, side, kvHeads, headDim);
  return hadamard ? b.matmul(fake, hadamardConstant(b, headDim)) : fake;
}

function fakeGroups(b: GraphBuilder, x: ValueName, side: KvSide, kvHeads: number, headDim: number): ValueName {
  const { per, group } = side;
  const gather = (value: ValueName, at: ValueName) => b.node('Gather', [value, at], { attributes: { axis: { int: 1 } } });
  if (per === 'token') {
    const grouped = b.reshape(x, 0, 0, kvHeads, headDim / group, group);
    return b.reshape(roundTrip(b, grouped, 4, side), 0, 0, kvHeads, headDim);
  }
  const grouped = b.reshape(gather(x, inputs.order), 0, -1, group, kvHeads, headDim);
  return gather(b.reshape(roundTrip(b, grouped, 2, side), 0, -1, kvHeads, headDim), inputs.place);
}

/** `quantizeGroups` and back, where `axis` shares a scale. */
function roundTrip(b: GraphBuilder, x: ValueName, axis: number, side: KvSide): ValueName {
  const divide = (value: ValueName, by: ValueName) => b.node('Div', [value, by]);
  const bits = codeBits(side);
  if (hasMinimum(side)) {
    const min = reduce(b, 'ReduceMin', x, axis);
    const range = b.node('Sub', [reduce(b, 'ReduceMax', x, axis), min]);
    const scale = notZero(b, roundToF16(b, divide(range, b.float(2 ** bits - 1))), 1);
    const stored = roundToF16(b, min);
    const codes = roundTo(b, divide(b.node('Sub', [x, stored]), scale), 0, 2 ** bits - 1);
    return b.add(b.mul(codes, scale), stored);
  }
  const half = 2 ** (bits - 1);
  const steps = side.bits === 'fp8' ? e4m3Max : half - 0.5;
  const scale = notZero(b, roundToF16(b, divide(reduce(b, 'ReduceMax', b.node('Abs', [x]), axis), b.float(steps))), 1);
  const quotient = divide(x, scale);
  const codes = side.bits === 'fp8' ? roundToMinifloat(b, quotient, minifloats.e4m3) : roundTo(b, quotient, -half, half - 1);
  return b.mul(codes, scale);
}

/** The normalized Hadamard matrix [n, n], one constant a graph. */
export function hadamardConstant(b: GraphBuilder, n: number): ValueName {
  return b.shared(`hadamard.${n}`, () => ({ type: 'f32', dims: [n, n], bytes: bytesOf(sylvester(n)) }));
}
