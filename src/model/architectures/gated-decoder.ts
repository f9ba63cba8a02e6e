/** The tensors of the Llama family: RMSNorm before attention and before a gated MLP (gate, up, down). */
import type { FoldPair, TensorRow, TensorTable } from '../architecture.ts';
import type { ModelSpec, Role } from '../types.ts';

type Projection = keyof ModelSpec['bias'];

const queries = (s: ModelSpec) => s.heads * s.headDim;
const keys = (s: ModelSpec) => s.kvHeads * s.headDim;

function norm(name: string, gguf: string): TensorRow {
  return { name: `${name}.weight`, gguf: `${gguf}.weight`, role: 'norm', shape: (s) => [s.hidden] };
}

function headNorm(name: string, gguf: string): TensorRow {
  return { name: `${name}.weight`, gguf: `${gguf}.weight`, role: 'qkNorm', shape: (s) => [s.headDim], when: (s) => s.qkNorm };
}

/** A linear layer: its weight [out, in], and its bias [out] where the model has one. */
function linear(
  role: Projection,
  name: string,
  gguf: string,
  out: (s: ModelSpec) => number,
  inputs: (s: ModelSpec) => number,
  heads?: (s: ModelSpec) => number,
): TensorRow[] {
  const permuted = heads ? { heads } : {};
  return [
    { name: `${name}.weight`, gguf: `${gguf}.weight`, role, shape: (s) => [out(s), inputs(s)], ...permuted },
    { name: `${name}.bias`, gguf: `${gguf}.bias`, role: 'bias', shape: (s) => [out(s)], when: (s) => s.bias[role], ...permuted },
  ];
}

const layer = 'model.layers.{}';
const hidden = (s: ModelSpec) => s.hidden;
const intermediate = (s: ModelSpec) => s.intermediate;

export const gatedDecoder: TensorTable = {
  before: [
    { name: 'model.embed_tokens.weight', gguf: 'token_embd.weight', role: 'embedding', shape: (s) => [s.vocab, s.hidden] },
    {
      name: 'rope_freqs.weight',
      gguf: 'rope_freqs.weight',
      role: 'rope',
      shape: (s) => [s.rope.dims / 2],
      when: (s) => s.rope.scaling.kind === 'tensor',
    },
  ],
  layer: [
    norm(`${layer}.input_layernorm`, 'blk.{}.attn_norm'),
    ...linear('q', `${layer}.self_attn.q_proj`, 'blk.{}.attn_q', queries, hidden, (s) => s.heads),
    ...linear('k', `${layer}.self_attn.k_proj`, 'blk.{}.attn_k', keys, hidden, (s) => s.kvHeads),
    ...linear('v', `${layer}.self_attn.v_proj`, 'blk.{}.attn_v', keys, hidden),
    ...linear('o', `${layer}.self_attn.o_proj`, 'blk.{}.attn_output', hidden, queries),
    headNorm(`${layer}.self_attn.q_norm`, 'blk.{}.attn_q_norm'),
    headNorm(`${layer}.self_attn.k_norm`, 'blk.{}.attn_k_norm'),
    norm(`${layer}.post_attention_layernorm`, 'blk.{}.ffn_norm'),
    ...linear('gate', `${layer}.mlp.gate_proj`, 'blk.{}.ffn_gate', intermediate, hidden),
    ...linear('up', `${layer}.mlp.up_proj`, 'blk.{}.ffn_up', intermediate, hidden),
    ...linear('down', `${layer}.mlp.down_proj`, 'blk.{}.ffn_down', hidden, intermediate),
  ],
  after: [
    norm('model.norm', 'output_norm'),
    { name: 'lm_head.weight', gguf: 'output.weight', role: 'output', shape: (s) => [s.vocab, s.hidden], when: (s) => !s.tied },
  ],
};

export const gatedDecoderFused: readonly (readonly Role[])[] = [
  ['q', 'k', 'v'],
  ['gate', 'up'],
];

/** From v to o, query heads that share a value head share its scales. */
export const gatedDecoderPairs: readonly FoldPair[] = [
  { from: { norm: `${layer}.input_layernorm` }, to: ['q', 'k', 'v'] },
  { from: { role: 'v' }, to: ['o'] },
  { from: { norm: `${layer}.post_attention_layernorm` }, to: ['gate', 'up'] },
  { from: { role: 'up' }, to: ['down'] },
  { from: { norm: 'model.norm' }, to: ['output'] },
];
