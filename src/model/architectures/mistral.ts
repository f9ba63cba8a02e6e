import { type Architecture, noBias } from '../architecture.ts';
import { gatedDecoder, gatedDecoderFused, gatedDecoderPairs } from './gated-decoder.ts';

export const mistral: Architecture = {
  name: 'mistral',
  modelType: 'mistral',
  classes: ['MistralForCausalLM'],
  // llama.cpp has no Mistral of its own: its files say 'llama'.
  gguf: { architecture: 'llama', permuted: true },
  tensors: gatedDecoder,
  fused: gatedDecoderFused,
  pairs: gatedDecoderPairs,
  defaults: {
    num_key_value_heads: 8,
    head_dim: null,
    max_position_embeddings: 131072,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    tie_word_embeddings: false,
    sliding_window: 4096,
  },
  qkNorm: false,
  bias: () => noBias,
  slides: () => true,
};
