import { type Architecture, noBias } from '../architecture.ts';
import { gatedDecoder, gatedDecoderFused, gatedDecoderPairs } from './gated-decoder.ts';
import { slidesPastWindowLayers } from './window-layers.ts';

export const qwen2: Architecture = {
  name: 'qwen2',
  modelType: 'qwen2',
  classes: ['Qwen2ForCausalLM'],
  gguf: { architecture: 'qwen2', permuted: false },
  tensors: gatedDecoder,
  fused: gatedDecoderFused,
  pairs: gatedDecoderPairs,
  defaults: {
    num_key_value_heads: 32,
    head_dim: null,
    max_position_embeddings: 32768,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    tie_word_embeddings: false,
    use_sliding_window: false,
    sliding_window: 4096,
    max_window_layers: 28,
  },
  qkNorm: false,
  bias: () => ({ ...noBias, q: true, k: true, v: true }),
  slides: slidesPastWindowLayers,
};
