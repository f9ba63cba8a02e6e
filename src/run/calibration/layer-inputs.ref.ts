/** What the linears of a layer read, slowly and in f64: the truth that taps are compared with. */
import { type ModelSpec, ropeFrequencies } from '../../model/index.ts';

type Matrix = Float64Array[];
/** Weights of the layer without its prefix, [out, in] row-major. */
export type LayerWeights = (name: string) => Float32Array | undefined;

/**
 * @param hidden input of the layer, [context, hidden]
 * @returns by linear of each group the rows [context, in]
 */
export function layerInputsRef(spec: ModelSpec, layer: number, weights: LayerWeights, hidden: Matrix): Map<string, Matrix> {
  const { heads, kvHeads, headDim } = spec;
  const linear = (x: Matrix, name: string) => {
    const [w, bias] = [weights(`${name}.weight`)!, weights(`${name}.bias`)];
    const out = w.length / x[0]!.length;
    return x.map((row) => Float64Array.from({ length: out }, (_, o) => dot(w, o * row.length, row) + (bias?.[o] ?? 0)));
  };
  const norm = (x: Matrix, name: string) => x.map((row) => normed(row, weights(`${name}.weight`)!, spec.normEpsilon));
  const split = (x: Matrix, count: number, name: string) =>
    Array.from({ length: count }, (_, h) => {
      const part = x.map((row) => row.slice(h * headDim, (h + 1) * headDim));
      return weights(`self_attn.${name}_norm.weight`) ? norm(part, `self_attn.${name}_norm`) : part;
    });

  const attentionInput = norm(hidden, 'input_layernorm');
  const q = split(linear(attentionInput, 'self_attn.q_proj'), heads, 'q').map((x) => rotated(spec, x));
  const k = split(linear(attentionInput, 'self_attn.k_proj'), kvHeads, 'k').map((x) => rotated(spec, x));
  const v = split(linear(attentionInput, 'self_attn.v_proj'), kvHeads, 'v');
  const mixed = hidden.map((_, t) => {
    const row = new Float64Array(heads * headDim);
    for (let h = 0; h < heads; h++) {
      const kv = Math.floor((h * kvHeads) / heads);
      row.set(attended(q[h]![t]!, k[kv]!, v[kv]!, t, spec.window[layer]), h * headDim);
    }
    return row;
  });
  const middle = sum(hidden, linear(mixed, 'self_attn.o_proj'));
  const mlpInput = norm(middle, 'post_attention_layernorm');
  const [gate, up] = [linear(mlpInput, 'mlp.gate_proj'), linear(mlpInput, 'mlp.up_proj')];
  const product = gate.map((row, t) => row.map((g, i) => (g / (1 + Math.exp(-g))) * up[t]![i]!));
  return new Map([
    ['self_attn.q_proj', attentionInput],
    ['self_attn.o_proj', mixed],
    ['mlp.gate_proj', mlpInput],
    ['mlp.down_proj', product],
  ]);
}

/** RMSNorm. */
export function normed(row: Float64Array, gain: Float32Array, epsilon: number): Float64Array {
  const root = Math.sqrt(row.reduce((total, x) => total + x * x, 0) / row.length + epsilon);
  return row.map((x, i) => (x / root) * gain[i]!);
}

function dot(w: Float32Array, at: number, x: Float64Array): number {
  return x.reduce((total, value, i) => total + w[at + i]! * value, 0);
}

function sum(a: Matrix, b: Matrix): Matrix {
  return a.map((row, t) => row.map((x, i) => x + b[t]![i]!));
}

function rotated({ rope }: ModelSpec, x: Matrix): Matrix {
  const { inverse, scale } = ropeFrequencies(rope, x.length);
  const half = rope.dims / 2;
  return x.map((row, t) =>
    row.map((value, i) => {
      const angle = t * inverse[i % half]!;
      return (value * Math.cos(angle) + (i < half ? -row[i + half]! : row[i - half]!) * Math.sin(angle)) * scale;
    }),
  );
}

/** Softmax over the positions that `t` sees. */
function attended(query: Float64Array, keys: Matrix, values: Matrix, t: number, window = Number.POSITIVE_INFINITY): Float64Array {
  const first = Math.max(0, t - window + 1);
  const scores = keys.slice(first, t + 1).map((key) => key.reduce((total, x, i) => total + x * query[i]!, 0));
  const most = Math.max(...scores);
  const weights = scores.map((score) => Math.exp((score - most) / Math.sqrt(query.length)));
  const total = weights.reduce((a, b) => a + b, 0);
  return query.map((_, i) => weights.reduce((mix, weight, s) => mix + (weight / total) * values[first + s]![i]!, 0));
}
