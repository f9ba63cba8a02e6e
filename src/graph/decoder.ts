/**
 * One layer of a Llama-like decoder: RMSNorm, grouped-query attention with rotary positions, RMSNorm, gated MLP.
 * Plain ONNX operators in the form that ONNX Runtime fuses by itself (Pow..Div..Mul becomes SimplifiedLayerNormalization, the
 * transposes and the scale become arguments of FusedMatMul, x * sigmoid(x) becomes QuickGelu), so that passes and other
 * runtimes see ONNX only. Shapes: B batch, T positions computed, S positions seen, H heads, K key/value heads, D head dimension.
 */
import { ModelError } from '../errors.ts';
import type { ModelSpec } from '../model/types.ts';
import type { GraphBuilder, ValueName } from './builder.ts';

/** What all layers share. */
export interface DecoderContext {
  readonly spec: ModelSpec;
  /** [T, 1, D], sin with the first half negated: see `rotate`. */
  readonly cos: ValueName;
  readonly sin: ValueName;
  /** Sum to the scores [T, S]: 0 where position t sees position s, else -Infinity. */
  readonly mask: (window: number | undefined) => ValueName;
  /** The weight called so in the checkpoint. */
  readonly weight: (name: string) => ValueName;
}

/** Keys (rotated) and values of positions, [positions, B, K, D]: positions first, so that a cache grows at its end. */
export interface KeysValues {
  readonly key: ValueName;
  readonly value: ValueName;
}

export interface LayerResult extends KeysValues {
  /** [B, T, hidden] */
  readonly hidden: ValueName;
}

/**
 * @param module name of the layer with its final dot: 'model.layers.0.'.
 * @param x hidden states [B, T, hidden].
 * @param past what a cache holds of the positions before.
 */
export function decoderLayer(
  b: GraphBuilder,
  context: DecoderContext,
  layer: number,
  module: string,
  x: ValueName,
  past?: KeysValues,
): LayerResult {
  return b.scoped(`layer.${layer}`, () => {
    const normed = rmsNorm(b, context, `${module}input_layernorm`, x);
    const { hidden, key, value } = attention(b, context, layer, `${module}self_attn.`, normed, past);
    const middle = b.node('Add', [x, hidden], { name: `${module}middle` });
    const output = mlp(b, context, `${module}mlp.`, rmsNorm(b, context, `${module}post_attention_layernorm`, middle));
    return { hidden: b.add(middle, output), key, value };
  });
}

/** x / sqrt(mean(x²) + eps) * gain over the last axis. */
export function rmsNorm(
  b: GraphBuilder,
  { spec, weight }: Pick<DecoderContext, 'spec' | 'weight'>,
  module: string,
  x: ValueName,
): ValueName {
  const square = b.node('Pow', [x, b.float(2)]);
  const mean = b.node('ReduceMean', [square, b.ints(-1)], { attributes: { keepdims: { int: 1 } } });
  const root = b.node('Sqrt', [b.add(mean, b.float(spec.normEpsilon))]);
  return b.node('Mul', [b.node('Div', [x, root]), weight(`${module}.weight`)], { name: module });
}

/** x Wᵀ (+ bias): the MatMul is the node called `module`. */
function linear(b: GraphBuilder, { weight }: DecoderContext, module: string, bias: boolean, x: ValueName): ValueName {
  const product = b.matmul(x, b.transpose(weight(`${module}.weight`), 1, 0), { name: module });
  return bias ? b.add(product, weight(`${module}.bias`)) : product;
}

function attention(
  b: GraphBuilder,
  context: DecoderContext,
  layer: number,
  module: string,
  x: ValueName,
  past: KeysValues | undefined,
): LayerResult {
  const { spec, mask } = context;
  const { heads, kvHeads, headDim, bias, qkNorm } = spec;
  const project = (role: 'q' | 'k' | 'v', count: number) =>
    b.reshape(linear(b, context, `${module}${role}_proj`, bias[role], x), 0, 0, count, headDim); // [B, T, count, D]
  const normed = (role: 'q' | 'k', y: ValueName) => (qkNorm ? rmsNorm(b, context, `${module}${role}_norm`, y) : y);

  const q = rotate(b, context, `${module}q_rope`, normed('q', project('q', heads)));
  const k = rotate(b, context, `${module}k_rope`, normed('k', project('k', kvHeads)));
  const v = project('v', kvHeads);

  const key = past ? b.transpose(k, 1, 0, 2, 3) : k; // [T, B, K, D]
  const value = past ? b.transpose(v, 1, 0, 2, 3) : v;
  const allKeys = past ? b.transpose(b.concat(0, past.key, key), 1, 2, 0, 3) : b.transpose(k, 0, 2, 1, 3); // [B, K, S, D]
  const allValues = past ? b.transpose(b.concat(0, past.value, value), 1, 2, 0, 3) : b.transpose(v, 0, 2, 1, 3);

  // Query heads that share a key head are stacked as rows of one product: [B, K, (H / K) T, D].
  const queries = b.reshape(b.transpose(q, 0, 2, 1, 3), 0, kvHeads, -1, headDim);
  const products = b.mul(b.matmul(queries, b.transpose(allKeys, 0, 1, 3, 2)), b.float(headDim ** -0.5));
  const scores = b.add(b.reshape(products, 0, heads, -1, 0), mask(spec.window[layer])); // [B, H, T, S]
  const mixed = b.matmul(b.reshape(b.softmax(scores), 0, kvHeads, -1, 0), allValues); // [B, K, (H / K) T, D]
  const joined = b.reshape(b.transpose(b.reshape(mixed, 0, heads, -1, headDim), 0, 2, 1, 3), 0, 0, heads * headDim);
  return { hidden: linear(b, context, `${module}o_proj`, bias.o, joined), key, value };
}

/** Rotates pairs (i, i + D/2): x cos + (x2, x1) sin, where sin carries the minus sign of the first half. The sum is called `name`. */
function rotate(b: GraphBuilder, { spec, cos, sin }: DecoderContext, name: string, x: ValueName): ValueName {
  if (spec.rope.dims !== spec.headDim)
    throw new ModelError({ what: 'the graph rotates whole heads only', value: spec.rope.dims, limit: spec.headDim });
  const [first, second] = b.halves(x);
  return b.node('Add', [b.mul(x, cos), b.mul(b.concat(-1, second, first), sin)], { name });
}

function mlp(b: GraphBuilder, context: DecoderContext, module: string, x: ValueName): ValueName {
  const { bias } = context.spec;
  const gate = linear(b, context, `${module}gate_proj`, bias.gate, x);
  const up = linear(b, context, `${module}up_proj`, bias.up, x);
  const silu = b.mul(gate, b.node('Sigmoid', [gate]));
  return linear(b, context, `${module}down_proj`, bias.down, b.mul(silu, up));
}
