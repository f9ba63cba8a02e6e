/** Configurations as in the config.json of each model, with what was published about it. */
import type { JsonObject } from '../checkpoint/types.ts';
import { type ModelSpec, readSpec } from '../model/index.ts';

export interface Published {
  name: string;
  spec: ModelSpec;
  /** Parameters; twice as many bytes are `total_size` of the model's model.safetensors.index.json. */
  parameters: number;
  /** KiB of keys and values a token at 16 bits: 2 x layers x kv_heads x head_dim x 2 bytes, as serving guides print it. */
  kvKib: number;
}

const llamaLike = { model_type: 'llama', architectures: ['LlamaForCausalLM'], rms_norm_eps: 1e-5, hidden_act: 'silu' };

const rows: { name: string; config: JsonObject; parameters: number; kvKib: number }[] = [
  {
    name: 'Llama-2-7B',
    config: {
      ...llamaLike,
      hidden_size: 4096,
      intermediate_size: 11008,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: 32,
      max_position_embeddings: 4096,
      vocab_size: 32000,
    },
    parameters: 6_738_415_616,
    kvKib: 512,
  },
  {
    name: 'Llama-3-8B',
    config: {
      ...llamaLike,
      hidden_size: 4096,
      intermediate_size: 14336,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: 8,
      max_position_embeddings: 8192,
      rope_theta: 500000,
      vocab_size: 128256,
    },
    parameters: 8_030_261_248,
    kvKib: 128,
  },
  {
    name: 'Mistral-7B-v0.1',
    config: {
      model_type: 'mistral',
      hidden_size: 4096,
      intermediate_size: 14336,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: 8,
      max_position_embeddings: 32768,
      rms_norm_eps: 1e-5,
      rope_theta: 10000,
      sliding_window: 4096,
      vocab_size: 32000,
    },
    parameters: 7_241_732_096,
    kvKib: 128,
  },
  {
    name: 'Qwen2.5-7B',
    config: {
      model_type: 'qwen2',
      hidden_size: 3584,
      intermediate_size: 18944,
      num_hidden_layers: 28,
      num_attention_heads: 28,
      num_key_value_heads: 4,
      max_position_embeddings: 131072,
      max_window_layers: 28,
      rms_norm_eps: 1e-6,
      rope_theta: 1000000,
      sliding_window: 131072,
      use_sliding_window: false,
      tie_word_embeddings: false,
      vocab_size: 152064,
    },
    parameters: 7_615_616_512,
    kvKib: 56,
  },
  {
    name: 'Llama-3-70B',
    config: {
      ...llamaLike,
      hidden_size: 8192,
      intermediate_size: 28672,
      num_hidden_layers: 80,
      num_attention_heads: 64,
      num_key_value_heads: 8,
      max_position_embeddings: 8192,
      rope_theta: 500000,
      vocab_size: 128256,
    },
    parameters: 70_553_706_496,
    kvKib: 320,
  },
];

export const published: readonly Published[] = rows.map(({ config, ...row }) => ({ ...row, spec: readSpec(config) }));

/** The first LLaMA (arXiv 2302.13971), which QLoRA finetunes. */
export function llama1(size: '7B' | '13B' | '33B' | '65B'): ModelSpec {
  const widths = {
    '7B': [4096, 11008, 32],
    '13B': [5120, 13824, 40],
    '33B': [6656, 17920, 60],
    '65B': [8192, 22016, 80],
  } as const;
  const [hidden, intermediate, layers] = widths[size];
  return readSpec({
    ...llamaLike,
    hidden_size: hidden,
    intermediate_size: intermediate,
    num_hidden_layers: layers,
    num_attention_heads: hidden / 128,
    max_position_embeddings: 2048,
    vocab_size: 32000,
  });
}
