/** A Llama in f64, slow and plain, that lets tests change what flows through it. */
import type { ModelSpec } from '../../model/types.ts';

export type Weights = ReadonlyMap<string, Float32Array>;

/** Each may change its values in place; rows are tokens. */
export interface Hooks {
  /** Input of a linear, [tokens, in]: a copy of its own. */
  input?(linear: string, x: Float64Array, width: number): void;
  /** Output of v, [tokens, kvHeads * headDim]. */
  value?(layer: number, v: Float64Array): void;
  /** Queries [tokens, heads * headDim] and keys after their rotary positions. */
  queryKey?(layer: number, q: Float64Array, k: Float64Array): void;
}

/** Logits [length, vocab] of one sequence. */
export function llamaLogits(spec: ModelSpec, weights: Weights, ids: ArrayLike<number>, hooks: Hooks = {}): Float64Array {
  const { hidden, layers, vocab } = spec;
  const embedding = weights.get('model.embed_tokens.weight')!;
  let x: Float64Array = Float64Array.from(
    { length: ids.length * hidden },
    (_, i) => embedding[ids[Math.floor(i / hidden)]! * hidden + (i % hidden)]!,
  );
  for (let layer = 0; layer < layers; layer++) {
    const name = `model.layers.${layer}.`;
    const normed = rmsNorm(x, weights.get(`${name}input_layernorm.weight`)!, spec.normEpsilon);
    x = sum(x, attention(spec, weights, layer, normed, hooks));
    x = sum(
      x,
      mlp(
        spec,
        weights,
        `${name}mlp.`,
        rmsNorm(x, weights.get(`${name}post_attention_layernorm.weight`)!, spec.normEpsilon),
        hooks,
      ),
    );
  }
  const last = rmsNorm(x, weights.get('model.norm.weight')!, spec.normEpsilon);
  return product(last, weights.get('lm_head.weight')!, hidden, vocab);
}

export function attention(spec: ModelSpec, weights: Weights, layer: number, x: Float64Array, hooks: Hooks = {}): Float64Array {
  const { hidden, heads, kvHeads, headDim, rope } = spec;
  const name = `model.layers.${layer}.self_attn.`;
  const tokens = x.length / hidden;
  const q = linear(weights, `${name}q_proj`, x, hidden, hooks);
  const k = linear(weights, `${name}k_proj`, x, hidden, hooks);
  const v = linear(weights, `${name}v_proj`, x, hidden, hooks);
  hooks.value?.(layer, v);
  rotate(q, headDim, heads, rope.base);
  rotate(k, headDim, kvHeads, rope.base);
  hooks.queryKey?.(layer, q, k);
  const mixed = new Float64Array(tokens * heads * headDim);
  for (let h = 0; h < heads; h++) {
    const g = Math.floor((h * kvHeads) / heads);
    for (let t = 0; t < tokens; t++) {
      const scores = Array.from({ length: t + 1 }, (_, s) => {
        let dot = 0;
        for (let d = 0; d < headDim; d++) dot += q[(t * heads + h) * headDim + d]! * k[(s * kvHeads + g) * headDim + d]!;
        return dot / Math.sqrt(headDim);
      });
      const most = Math.max(...scores);
      const shares = scores.map((score) => Math.exp(score - most));
      const total = shares.reduce((a, b) => a + b);
      for (let s = 0; s <= t; s++) {
        for (let d = 0; d < headDim; d++)
          mixed[(t * heads + h) * headDim + d]! += (shares[s]! / total) * v[(s * kvHeads + g) * headDim + d]!;
      }
    }
  }
  return linear(weights, `${name}o_proj`, mixed, heads * headDim, hooks);
}

export function mlp(
  { hidden, intermediate }: ModelSpec,
  weights: Weights,
  name: string,
  x: Float64Array,
  hooks: Hooks = {},
): Float64Array {
  const gate = linear(weights, `${name}gate_proj`, x, hidden, hooks);
  const up = linear(weights, `${name}up_proj`, x, hidden, hooks);
  const inner = gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]!);
  return linear(weights, `${name}down_proj`, inner, intermediate, hooks);
}

function linear(weights: Weights, name: string, x: Float64Array, width: number, hooks: Hooks): Float64Array {
  const w = weights.get(`${name}.weight`)!;
  const input = x.slice();
  hooks.input?.(name, input, width);
  return product(input, w, width, w.length / width);
}

/** x W': x [tokens, width], w [out, width]. */
export function product(x: Float64Array, w: ArrayLike<number>, width: number, out: number): Float64Array {
  const tokens = x.length / width;
  const y = new Float64Array(tokens * out);
  for (let t = 0; t < tokens; t++) {
    for (let o = 0; o < out; o++) {
      let dot = 0;
      for (let c = 0; c < width; c++) dot += x[t * width + c]! * w[o * width + c]!;
      y[t * out + o] = dot;
    }
  }
  return y;
}

export function rmsNorm(x: Float64Array, gain: Float32Array, epsilon: number): Float64Array {
  const n = gain.length;
  const out = x.slice();
  for (let at = 0; at < x.length; at += n) {
    let square = 0;
    for (let i = 0; i < n; i++) square += x[at + i]! ** 2;
    const factor = 1 / Math.sqrt(square / n + epsilon);
    for (let i = 0; i < n; i++) out[at + i] = x[at + i]! * factor * gain[i]!;
  }
  return out;
}

function rotate(x: Float64Array, headDim: number, heads: number, base: number): void {
  const half = headDim / 2;
  for (let at = 0; at < x.length; at += headDim) {
    const position = Math.floor(at / (heads * headDim));
    for (let i = 0; i < half; i++) {
      const angle = position * base ** (-i / half);
      const [a, b] = [x[at + i]!, x[at + i + half]!];
      x[at + i] = a * Math.cos(angle) - b * Math.sin(angle);
      x[at + i + half] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  }
}

function sum(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((x, i) => x + b[i]!);
}
