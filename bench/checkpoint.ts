/**
 * A synthetic checkpoint with the shape of a Llama of 1.2 billion parameters (hidden 2048, 16 layers, vocabulary 128,256, tied
 * embeddings; 2.5 GB at 16 bits) as a Hugging Face folder in bf16 or a GGUF file in f16. Values are gaussian and the same on
 * every machine. Gaussians cost time, so a block of about a million is drawn once and repeated; its prime length keeps rows from
 * repeating in step with any block type.
 */
import { closeSync, existsSync, mkdirSync, openSync, renameSync, statSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { encodeBf16Array, encodeF16Array, Random } from 'fewbits/numeric';
import { root } from '../interop/project.ts';
import { ggufHeader, type HeaderTensor } from './gguf-header.ts';
import { tokenizerJson, vocabulary } from './vocabulary.ts';

export const workFolder = path.join(root, 'bench', 'work');

export const shape = {
  hidden: 2048,
  intermediate: 8192,
  heads: 32,
  kvHeads: 8,
  headDim: 64,
  vocab: 128_256,
  context: 2048,
  ropeTheta: 500_000,
  epsilon: 1e-5,
} as const;

const blockLength = 1_048_573; // the largest prime below 2^20
/** Standard deviations of matrices, taken in turn: real tensors differ in scale. */
const deviations = [0.02, 0.035, 0.012, 0.05];

interface SyntheticTensor {
  huggingface: string;
  gguf: string;
  /** [out, in] or [size]. */
  shape: number[];
}

/** Makes the checkpoint unless it is there; returns its path. */
export function makeCheckpoint(container: 'gguf' | 'huggingface', layers = 16): string {
  mkdirSync(workFolder, { recursive: true });
  return container === 'gguf' ? makeGguf(layers) : makeFolder(layers);
}

function makeGguf(layers: number): string {
  const file = path.join(workFolder, `llama-${layers}-layers-f16.gguf`);
  if (existsSync(file)) return file;
  const tensors = tensorList(layers).map(({ gguf: name, shape }): HeaderTensor & { shape: number[] } => {
    const values = shape.reduce((product, n) => product * n, 1);
    // Norms are f32 in GGUF files, whatever the file type.
    return shape.length === 1 ? { name, shape, type: 'f32', bytes: 4 * values } : { name, shape, type: 'f16', bytes: 2 * values };
  });
  const header = ggufHeader(metadata(layers), tensors);
  const f16 = blocks(encodeF16Array);
  writeWhole(file, (write) => {
    write(header);
    tensors.forEach((tensor, i) => {
      if (tensor.type === 'f32') write(norm(tensor.shape[0]!));
      else writeRepeated(write, f16, i, tensor.bytes);
    });
  });
  return file;
}

function makeFolder(layers: number): string {
  const folder = path.join(workFolder, `llama-${layers}-layers`);
  const file = path.join(folder, 'model.safetensors');
  if (existsSync(file)) return folder;
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'config.json'), JSON.stringify(config(layers), null, 2));
  writeFileSync(path.join(folder, 'tokenizer.json'), tokenizerJson(shape.vocab));
  writeFileSync(
    path.join(folder, 'tokenizer_config.json'),
    JSON.stringify({ add_bos_token: true, bos_token: '<s>', eos_token: '</s>' }),
  );
  const tensors = tensorList(layers);
  let offset = 0;
  const entries: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  for (const { huggingface, shape } of tensors) {
    const end = offset + 2 * shape.reduce((product, n) => product * n, 1);
    entries[huggingface] = { dtype: 'BF16', shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(entries));
  const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  header.writeBigUInt64LE(BigInt(header.length - 8));
  json.copy(header, 8);
  const bf16 = blocks(encodeBf16Array);
  writeWhole(file, (write) => {
    write(header);
    tensors.forEach(({ shape }, i) => {
      if (shape.length === 1) write(bytesOf(encodeBf16Array(new Float32Array(norm(shape[0]!).buffer))));
      else writeRepeated(write, bf16, i, 2 * shape[0]! * shape[1]!);
    });
  });
  return folder;
}

function tensorList(layers: number): SyntheticTensor[] {
  const { hidden, intermediate, heads, kvHeads, headDim, vocab } = shape;
  const layer: [huggingface: string, gguf: string, shape: number[]][] = [
    ['input_layernorm', 'attn_norm', [hidden]],
    ['self_attn.q_proj', 'attn_q', [heads * headDim, hidden]],
    ['self_attn.k_proj', 'attn_k', [kvHeads * headDim, hidden]],
    ['self_attn.v_proj', 'attn_v', [kvHeads * headDim, hidden]],
    ['self_attn.o_proj', 'attn_output', [hidden, heads * headDim]],
    ['post_attention_layernorm', 'ffn_norm', [hidden]],
    ['mlp.gate_proj', 'ffn_gate', [intermediate, hidden]],
    ['mlp.up_proj', 'ffn_up', [intermediate, hidden]],
    ['mlp.down_proj', 'ffn_down', [hidden, intermediate]],
  ];
  return [
    { huggingface: 'model.embed_tokens.weight', gguf: 'token_embd.weight', shape: [vocab, hidden] },
    ...Array.from({ length: layers }, (_, i) =>
      layer.map(([name, gguf, shape]) => ({
        huggingface: `model.layers.${i}.${name}.weight`,
        gguf: `blk.${i}.${gguf}.weight`,
        shape,
      })),
    ).flat(),
    { huggingface: 'model.norm.weight', gguf: 'output_norm.weight', shape: [hidden] },
  ];
}

function config(layers: number): Record<string, unknown> {
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: shape.hidden,
    intermediate_size: shape.intermediate,
    num_hidden_layers: layers,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.kvHeads,
    head_dim: shape.headDim,
    vocab_size: shape.vocab,
    max_position_embeddings: shape.context,
    rms_norm_eps: shape.epsilon,
    rope_theta: shape.ropeTheta,
    tie_word_embeddings: true,
    hidden_act: 'silu',
    bos_token_id: 1,
    eos_token_id: 2,
    torch_dtype: 'bfloat16',
  };
}

function metadata(layers: number): Parameters<typeof ggufHeader>[0] {
  const { tokens, scores, types } = vocabulary(shape.vocab);
  return [
    ['general.architecture', 'string', 'llama'],
    ['general.name', 'string', `synthetic llama, ${layers} layers`],
    ['general.file_type', 'u32', 1],
    ['general.quantization_version', 'u32', 2],
    ['llama.block_count', 'u32', layers],
    ['llama.context_length', 'u32', shape.context],
    ['llama.embedding_length', 'u32', shape.hidden],
    ['llama.feed_forward_length', 'u32', shape.intermediate],
    ['llama.attention.head_count', 'u32', shape.heads],
    ['llama.attention.head_count_kv', 'u32', shape.kvHeads],
    ['llama.attention.layer_norm_rms_epsilon', 'f32', shape.epsilon],
    ['llama.rope.dimension_count', 'u32', shape.headDim],
    ['llama.rope.freq_base', 'f32', shape.ropeTheta],
    ['llama.vocab_size', 'u32', shape.vocab],
    ['tokenizer.ggml.model', 'string', 'llama'],
    ['tokenizer.ggml.tokens', 'strings', tokens],
    ['tokenizer.ggml.scores', 'f32s', scores],
    ['tokenizer.ggml.token_type', 'i32s', types],
    ['tokenizer.ggml.bos_token_id', 'u32', 1],
    ['tokenizer.ggml.eos_token_id', 'u32', 2],
    ['tokenizer.ggml.unknown_token_id', 'u32', 0],
  ];
}

/** The gaussian block in 16 bits, once for each deviation. */
function blocks(encode: (x: Float32Array) => Uint16Array): Uint8Array[] {
  const random = new Random(1);
  const gaussian = Float32Array.from({ length: blockLength }, () => random.gaussian());
  return deviations.map((deviation) => bytesOf(encode(gaussian.map((x) => x * deviation))));
}

/** Norm weights near one, f32. */
function norm(size: number): Uint8Array {
  const random = new Random(2);
  return bytesOf(Float32Array.from({ length: size }, () => 1 + 0.1 * random.gaussian()));
}

/** Fills a tensor with a block, started at a place of its own for each tensor. */
function writeRepeated(write: (bytes: Uint8Array) => void, blocks: Uint8Array[], tensor: number, bytes: number): void {
  const block = blocks[tensor % blocks.length]!;
  let from = (2 * 7919 * tensor) % block.length;
  for (let left = bytes; left > 0; ) {
    const part = block.subarray(from, Math.min(block.length, from + left));
    write(part);
    left -= part.length;
    from = 0;
  }
}

/** The file gets its name when it is complete. */
function writeWhole(file: string, fill: (write: (bytes: Uint8Array) => void) => void): void {
  const partial = `${file}.partial`;
  const handle = openSync(partial, 'w');
  try {
    fill((bytes) => {
      for (let done = 0; done < bytes.length; ) done += writeSync(handle, bytes, done);
    });
  } finally {
    closeSync(handle);
  }
  renameSync(partial, file);
}

function bytesOf(array: Float32Array | Uint16Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** Bytes of a checkpoint's weights. */
export function checkpointBytes(container: 'gguf' | 'huggingface', at: string): number {
  return statSync(container === 'gguf' ? at : path.join(at, 'model.safetensors')).size;
}
