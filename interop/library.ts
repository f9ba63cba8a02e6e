/**
 * The C declarations of llama.cpp that the binding calls, as in include/llama.h and ggml.h of release v0.5.0 (the prebuilt
 * library of @node-llama-cpp/linux-x64 3.22.1). Structures change between releases, so the version is checked on loading.
 */
import path from 'node:path';
import { type CLibrary, type Koffi, loadKoffi, type Pointer, resolveInterop } from './koffi.ts';

const release = 'v0.5.0';

/** Structures that llama.cpp hands out filled with defaults; only the fields that are set here are named. */
export interface ModelParams {
  n_gpu_layers: number;
}
export interface ContextParams {
  n_ctx: number;
  n_batch: number;
  n_ubatch: number;
  n_seq_max: number;
  n_threads: number;
  n_threads_batch: number;
  flash_attn_type: number;
  type_k: number;
  type_v: number;
  no_perf: boolean;
}
export interface QuantizeParams {
  nthread: number;
  ftype: number;
  pure: boolean;
  allow_requantize: boolean;
  imatrix: Pointer;
}
export interface Batch {
  n_tokens: number;
  token: Pointer;
  embd: Pointer;
  pos: Pointer;
  n_seq_id: Pointer;
  seq_id: Pointer;
  logits: Pointer;
}

const structs: Record<string, string> = {
  llama_model_params: `void *devices, void *tensor_buft_overrides, int32 n_gpu_layers, int split_mode, int load_mode,
    int lazy_mode, int main_gpu, void *tensor_split, void *progress_callback, void *progress_callback_user_data,
    void *kv_overrides, bool vocab_only, bool check_tensors, bool use_extra_bufts, bool no_host, bool no_alloc, bool load_mtp`,
  llama_context_params: `uint32 n_ctx, uint32 n_batch, uint32 n_ubatch, uint32 n_seq_max, uint32 n_rs_seq,
    uint32 n_outputs_max, uint32 n_outputs_max_per_seq, int32 n_threads, int32 n_threads_batch, int ctx_type,
    int rope_scaling_type, int pooling_type, int attention_type, int flash_attn_type, float rope_freq_base,
    float rope_freq_scale, float yarn_ext_factor, float yarn_attn_factor, float yarn_beta_fast, float yarn_beta_slow,
    uint32 yarn_orig_ctx, uint32 defrag_thold, void *cb_eval, void *cb_eval_user_data, int type_k, int type_v,
    void *abort_callback, void *abort_callback_data, bool embeddings, bool offload_kqv, bool no_perf, bool op_offload,
    bool swa_full, bool kv_unified, void *samplers, size_t n_samplers, void *ctx_other`,
  llama_model_quantize_params: `int32 nthread, int ftype, int output_tensor_type, int token_embedding_type,
    bool allow_requantize, bool quantize_output_tensor, bool only_copy, bool pure, bool keep_split, bool dry_run,
    void *imatrix, void *kv_overrides, void *tt_overrides, void *prune_layers, size_t max_buf_size`,
  llama_batch: 'int32 n_tokens, void *token, void *embd, void *pos, void *n_seq_id, void *seq_id, void *logits',
};

/** "int32 a, void *b" -> {a: 'int32', b: 'void *'}: structures read like their C text. */
function fields(text: string): Record<string, string> {
  return Object.fromEntries(
    text.split(',').map((field) => {
      const [, type, name] = /^\s*(.*?[\s*])(\w+)\s*$/s.exec(field)!;
      return [name!, type!.trim()];
    }),
  );
}

export interface Library {
  koffi: Koffi;
  /** llama.cpp's and ggml's own version and commit, for reports. */
  version: string;
  modelDefaults(): ModelParams;
  contextDefaults(): ContextParams;
  quantizeDefaults(): QuantizeParams;
  loadModel(file: string, params: ModelParams): Pointer;
  freeModel(model: Pointer): void;
  vocabulary(model: Pointer): Pointer;
  newContext(model: Pointer, params: ContextParams): Pointer;
  freeContext(context: Pointer): void;
  memory(context: Pointer): Pointer;
  clearMemory(memory: Pointer, data: boolean): void;
  vocabSize(vocabulary: Pointer): number;
  addsBos(vocabulary: Pointer): boolean;
  bos(vocabulary: Pointer): number;
  endsGeneration(vocabulary: Pointer, token: number): boolean;
  /** Returns the number of tokens, negative when `max` is too small. */
  tokenize(
    v: Pointer,
    text: Uint8Array,
    length: number,
    out: Int32Array | null,
    max: number,
    special: boolean,
    parse: boolean,
  ): number;
  detokenize(
    v: Pointer,
    tokens: Int32Array,
    count: number,
    out: Uint8Array,
    max: number,
    remove: boolean,
    unparse: boolean,
  ): number;
  decode(context: Pointer, batch: Batch): number;
  /** [outputs asked for, vocabSize] of the last decode. */
  logits(context: Pointer): bigint;
  quantize(input: string, output: string, params: QuantizeParams): number;
  /** Returns the bytes written. */
  quantizeChunk(
    type: number,
    source: Float32Array,
    target: Uint8Array,
    start: number,
    rows: number,
    columns: number,
    imatrix: Float32Array | null,
  ): number;
  /** blocks -> f32, by ggml's name of the type (`q4_K`). */
  dequantizeRow(type: string): (blocks: Uint8Array, out: Float32Array, values: number) => void;
}

let library: Library | undefined;

/**
 * Loads llama.cpp once a process. Its log is silent unless FEWBITS_LLAMA_LOG is set.
 * @throws NotInstalled when interop/node_modules is missing
 */
export function openLibrary(): Library {
  library ??= load();
  return library;
}

function load(): Library {
  const koffi = loadKoffi();
  const folder = path.join(path.dirname(resolveInterop('@node-llama-cpp/linux-x64')), '..', 'bins', 'linux-x64');
  const open = (file: string): CLibrary => koffi.load(path.join(folder, file), { global: true, lazy: true });
  const base = open('libggml-base.so');
  const ggml = open(`libggml.${release}.so`);
  const llama = open(`libllama.${release}.so`);
  for (const [name, text] of Object.entries(structs)) koffi.struct(name, fields(text));

  const bind = <F>(from: CLibrary, prototype: string): F => from.func(prototype) as F;
  const text = (from: CLibrary, name: string): string => bind<() => string>(from, `const char *${name}()`)();

  const logSet = bind<(callback: Pointer, data: Pointer) => void>(llama, 'void llama_log_set(void *callback, void *data)');
  // A JavaScript callback would deadlock when a worker thread logs while the main thread waits in a call. ggml_time_us takes no
  // argument and touches nothing, so it serves as a native function that ignores its arguments.
  if (!process.env['FEWBITS_LLAMA_LOG']) logSet(base.symbol('ggml_time_us'), null);
  bind<(folder: string) => void>(ggml, 'void ggml_backend_load_all_from_path(const char *folder)')(folder);
  bind<() => void>(llama, 'void llama_backend_init()')();

  return {
    koffi,
    version: `llama.cpp ${release}, ggml ${text(base, 'ggml_version')} (${text(base, 'ggml_commit')})`,
    modelDefaults: bind(llama, 'llama_model_params llama_model_default_params()'),
    contextDefaults: bind(llama, 'llama_context_params llama_context_default_params()'),
    quantizeDefaults: bind(llama, 'llama_model_quantize_params llama_model_quantize_default_params()'),
    loadModel: bind(llama, 'void *llama_model_load_from_file(const char *file, llama_model_params params)'),
    freeModel: bind(llama, 'void llama_model_free(void *model)'),
    vocabulary: bind(llama, 'void *llama_model_get_vocab(void *model)'),
    newContext: bind(llama, 'void *llama_init_from_model(void *model, llama_context_params params)'),
    freeContext: bind(llama, 'void llama_free(void *context)'),
    memory: bind(llama, 'void *llama_get_memory(void *context)'),
    clearMemory: bind(llama, 'void llama_memory_clear(void *memory, bool data)'),
    vocabSize: bind(llama, 'int32 llama_vocab_n_tokens(void *vocabulary)'),
    addsBos: bind(llama, 'bool llama_vocab_get_add_bos(void *vocabulary)'),
    bos: bind(llama, 'int32 llama_vocab_bos(void *vocabulary)'),
    endsGeneration: bind(llama, 'bool llama_vocab_is_eog(void *vocabulary, int32 token)'),
    tokenize: bind(
      llama,
      'int32 llama_tokenize(void *v, void *text, int32 length, void *out, int32 max, bool special, bool parse)',
    ),
    detokenize: bind(
      llama,
      'int32 llama_detokenize(void *v, void *tokens, int32 count, void *out, int32 max, bool remove, bool unparse)',
    ),
    decode: bind(llama, 'int32 llama_decode(void *context, llama_batch batch)'),
    logits: bind(llama, 'void *llama_get_logits(void *context)'),
    quantize: bind(
      llama,
      'uint32 llama_model_quantize(const char *input, const char *output, llama_model_quantize_params *params)',
    ),
    quantizeChunk: bind(
      base,
      'size_t ggml_quantize_chunk(int type, void *src, void *dst, int64 start, int64 rows, int64 columns, void *imatrix)',
    ),
    dequantizeRow: (type) => bind(base, `void dequantize_row_${type}(void *blocks, void *out, int64 values)`),
  };
}
