import { type Architecture, noBias } from '../architecture.ts';
import { gatedDecoder, gatedDecoderFused, gatedDecoderPairs } from './gated-decoder.ts';
import { slidesPastWindowLayers } from './window-layers.ts';

export const qwen3: Architecture = {
  name: 'qwen3',
  modelType: 'qwen3',
  classes: ['Qwen3ForCausalLM'],
  gguf: { architecture: 'qwen3', permuted: false },
  tensors: gatedDecoder,
  fused: gatedDecoderFused,
  pairs: gatedDecoderPairs,
  defaults: {
    num_key_value_heads: 32,
    head_dim: 128,
    max_position_embeddings: 32768,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    tie_word_embeddings: false,
    attention_bias: false,
    use_sliding_window: false,
    sliding_window: 4096,
    max_window_layers: 28,
  },
  qkNorm: true,
  bias: ({ attention_bias }) => {
    const attention = attention_bias === true;
    return { ...noBias, q: attention, k: attention, v: attention, o: attention };
  },
  slides: slidesPastWindowLayers,
};
