import type { Architecture } from '../architecture.ts';
import { gatedDecoder, gatedDecoderFused, gatedDecoderPairs } from './gated-decoder.ts';

export const llama: Architecture = {
  name: 'llama',
  modelType: 'llama',
  classes: ['LlamaForCausalLM'],
  gguf: { architecture: 'llama', permuted: true },
  tensors: gatedDecoder,
  fused: gatedDecoderFused,
  pairs: gatedDecoderPairs,
  defaults: {
    num_key_value_heads: null,
    head_dim: null,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    tie_word_embeddings: false,
    attention_bias: false,
    mlp_bias: false,
  },
  qkNorm: false,
  bias: ({ attention_bias, mlp_bias }) => {
    const [attention, mlp] = [attention_bias === true, mlp_bias === true];
    return { q: attention, k: attention, v: attention, o: attention, gate: mlp, up: mlp, down: mlp };
  },
  slides: () => false,
};
