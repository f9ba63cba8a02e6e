/**
 * A causal language model that computes. Sessions are made when first needed: scoring sessions (losses, logits, hidden states)
 * read one shared copy of the weights at run time; the decoder, which computes one position at a time, has them as constants.
 */
import { loadRuntime } from '#graph/runtime';
import { ModelError } from '../errors.ts';
import { modelTensors } from '../model/index.ts';
import type { ModelSpec } from '../model/types.ts';
import { checkKvScheme } from '../quantize/kv/scheme.ts';
import type { OnlineRotation } from '../quantize/transform/types.ts';
import type { KvScheme } from '../quantized/types.ts';
import { type Cache, KeyValueCache } from './cache.ts';
import { type IntegerLinears, integerLinears } from './integer-linears.ts';
import type { Graph } from './ir.ts';
import { buildModel, lossPieces, type ModelOptions } from './model.ts';
import type { Backend, LoadedRuntime, RuntimeOptions } from './onnx-runtime.ts';
import { PackedCache, packCache } from './packed-cache.ts';
import { applyPasses, bindWeights, type Pass } from './passes.ts';
import { positionFeeds } from './positions.ts';
import { cacheFeeds, quantizeCache } from './quantize-cache.ts';
import { type InputSchemes, quantizeInputs } from './quantize-inputs.ts';
import { rotateOnline } from './rotate-online.ts';
import { createSessionWith } from './session.ts';
import type { Decoder, GraphSession, GraphTensor, LanguageModel, WeightReader } from './types.ts';

const programs = {
  losses: { outputs: ['loss'] },
  logits: { outputs: ['logits'] },
  hidden: { outputs: ['logits', 'hidden'] },
  decoder: { outputs: ['logits'], cache: true },
} as const satisfies Record<string, ModelOptions>;

type Program = keyof typeof programs;

/** Batches are run in pieces whose largest tensor (logits or attention scores) stays below this. */
const largestTensorBytes = 256 * 2 ** 20;

export interface LanguageModelOptions extends RuntimeOptions {
  /** Rotations that stay in the model (QuaRot); inputs are quantized after them. */
  rotations?: readonly OnlineRotation[];
  /** Linears whose inputs are quantized while the model runs. */
  inputs?: InputSchemes;
  /** Linears that compute in integers, others than in `inputs`. */
  integers?: IntegerLinears;
  /** What replaces linears by kernels of few bits, before weights are bound. */
  passes?: readonly Pass[];
  /** How keys and values are stored; default: as they are. */
  kv?: KvScheme;
}

/** Made by `loadLanguageModel`; `reason` says why it does not run natively. */
export interface LoadedLanguageModel extends LanguageModel {
  readonly reason?: string;
}

/**
 * @param weights f32 [out, in] by Hugging Face name; read when first needed, once for scoring and once for decoding.
 * @throws ModelError when the weights do not fit the spec or the runtime cannot be loaded. What `quantizeInputs` throws comes when
 * a session is first needed.
 */
export async function loadLanguageModel(
  spec: ModelSpec,
  weights: WeightReader,
  options: LanguageModelOptions = {},
): Promise<LoadedLanguageModel> {
  const runtime = await loadRuntime(options);
  const { scaling } = spec.rope;
  const factors = scaling.kind === 'tensor' ? await weights(scaling.name) : undefined;
  if (options.kv) checkKvScheme(options.kv, spec.headDim);
  return new OnnxLanguageModel(spec, new SharedWeights(spec, weights), runtime, options, factors);
}

/** Weights that several models with one spec read. */
class SharedWeights {
  readonly reader: WeightReader;
  readonly #spec: ModelSpec;
  #all: Promise<Record<string, GraphTensor>> | undefined;

  constructor(spec: ModelSpec, reader: WeightReader) {
    this.#spec = spec;
    this.reader = reader;
  }

  all(): Promise<Record<string, GraphTensor>> {
    this.#all ??= readWeights(this.#spec, this.reader);
    return this.#all;
  }

  async close(): Promise<void> {
    this.#all = undefined;
    await this.reader.close?.();
  }
}

interface Opened {
  session: GraphSession;
  /** Names of the inputs that it has. */
  inputs: ReadonlySet<string>;
}

class OnnxLanguageModel implements LoadedLanguageModel {
  readonly spec: ModelSpec;
  readonly backend: Backend;
  readonly reason?: string;
  readonly #shared: SharedWeights;
  /** The weights belong to another model. */
  readonly #borrowed: boolean;
  readonly #runtime: LoadedRuntime;
  readonly #options: LanguageModelOptions;
  readonly #factors: Float32Array | undefined;
  readonly #sessions = new Map<Program, Promise<Opened>>();
  #closed = false;

  constructor(
    spec: ModelSpec,
    shared: SharedWeights,
    runtime: LoadedRuntime,
    options: LanguageModelOptions,
    factors: Float32Array | undefined,
    borrowed = false,
  ) {
    this.spec = spec;
    this.backend = runtime.backend;
    if (runtime.reason !== undefined) this.reason = runtime.reason;
    this.#shared = shared;
    this.#borrowed = borrowed;
    this.#runtime = runtime;
    this.#options = options;
    this.#factors = factors;
  }

  async losses(ids: Int32Array, batch: number, length: number): Promise<Float32Array> {
    if (length < 2) throw new ModelError({ what: 'a loss needs at least two tokens in a row', value: length });
    const { loss } = await this.#score('losses', ids, batch, length);
    return loss!;
  }

  async logits(ids: Int32Array, batch: number, length: number): Promise<Float32Array> {
    const { logits } = await this.#score('logits', ids, batch, length);
    return logits!;
  }

  async hidden(ids: Int32Array, batch: number, length: number) {
    const { logits, ...hidden } = await this.#score('hidden', ids, batch, length);
    const states = new Map(Object.entries(hidden).map(([name, state]) => [name.slice('hidden.'.length), state]));
    return { logits: logits!, states };
  }

  async decoder(batch = 1): Promise<Decoder> {
    const { session } = await this.#session('decoder');
    const { kv } = this.#options;
    const cache = kv ? new PackedCache(this.spec, batch, kv) : new KeyValueCache(this.spec, batch);
    return new CachedDecoder(this.spec, session, batch, cache, this.#factors);
  }

  withCache(kv: KvScheme): LanguageModel {
    checkKvScheme(kv, this.spec.headDim);
    return new OnnxLanguageModel(this.spec, this.#shared, this.#runtime, { ...this.#options, kv }, this.#factors, true);
  }

  async close(): Promise<void> {
    this.#closed = true;
    const sessions = await Promise.allSettled(this.#sessions.values());
    this.#sessions.clear();
    for (const opened of sessions) if (opened.status === 'fulfilled') await opened.value.session.close();
    if (!this.#borrowed) await this.#shared.close();
  }

  /** Runs ids [batch, length] in pieces of whole sequences and joins the outputs. */
  async #score(program: Program, ids: Int32Array, batch: number, length: number): Promise<Record<string, Float32Array>> {
    checkIds(this.spec, ids, batch, length);
    const { session, inputs } = await this.#session(program);
    const { kv } = this.#options;
    const all = {
      ...(await this.#shared.all()),
      ...positionFeeds(this.spec, 0, length, this.#factors),
      ...(kv && cacheFeeds(kv, length)),
    };
    const fixed = Object.fromEntries(Object.entries(all).filter(([name]) => inputs.has(name)));

    const { vocab, heads } = this.spec;
    const width = program === 'losses' ? vocab / lossPieces(vocab) : vocab;
    const sequenceBytes = 4 * length * Math.max(width, heads * length);
    const step = Math.max(1, Math.floor(largestTensorBytes / sequenceBytes));
    const joined: Record<string, Float32Array> = {};
    for (let from = 0; from < batch; from += step) {
      const to = Math.min(from + step, batch);
      const piece = ids.subarray(from * length, to * length);
      const outputs = await session.run({ ...fixed, ids: idTensor(piece, to - from) });
      for (const [name, { data }] of Object.entries(outputs)) {
        const values = data as Float32Array;
        if (step >= batch) joined[name] = values;
        else {
          const sequence = values.length / (to - from);
          joined[name] ??= new Float32Array(batch * sequence);
          joined[name].set(values, from * sequence);
        }
      }
    }
    return joined;
  }

  #session(program: Program): Promise<Opened> {
    if (this.#closed) throw new ModelError('a language model was used after it was closed');
    const known = this.#sessions.get(program) ?? this.#open(program);
    this.#sessions.set(program, known);
    return known;
  }

  async #open(program: Program): Promise<Opened> {
    const { inputs, kv, integers, passes, rotations } = this.#options;
    let graph: Graph = buildModel(this.spec, programs[program]);
    if (rotations) graph = rotateOnline(graph, rotations);
    if (integers) graph = integerLinears(graph, integers);
    if (inputs) graph = quantizeInputs(graph, inputs);
    if (passes) graph = applyPasses(graph, passes);
    if (kv) graph = (program === 'decoder' ? packCache : quantizeCache)(graph, this.spec, kv);
    if (program === 'decoder') graph = await bindWeights(graph, this.#shared.reader);
    const session = await createSessionWith(this.#runtime, graph, this.#options);
    return { session, inputs: new Set(graph.inputs.map(({ name }) => name)) };
  }
}

/**
 * Decodes with a cache of keys and values. Rows equal those of the full pass, except under dynamic rope: there the frequencies
 * of a full pass depend on its length, and cached keys keep those of the step that made them.
 */
class CachedDecoder implements Decoder {
  readonly #spec: ModelSpec;
  readonly #session: GraphSession;
  readonly #batch: number;
  readonly #factors: Float32Array | undefined;
  readonly #cache: Cache;

  constructor(spec: ModelSpec, session: GraphSession, batch: number, cache: Cache, factors: Float32Array | undefined) {
    this.#spec = spec;
    this.#session = session;
    this.#batch = batch;
    this.#factors = factors;
    this.#cache = cache;
  }

  get length(): number {
    return this.#cache.length;
  }

  get cacheBytes(): number {
    return this.#cache.bytes;
  }

  async step(ids: Int32Array): Promise<Float32Array> {
    const positions = ids.length / this.#batch;
    checkIds(this.#spec, ids, this.#batch, positions);
    if (positions <= this.#cache.room) return this.#piece(ids, positions);

    const { vocab } = this.#spec;
    const logits = new Float32Array(ids.length * vocab);
    for (let at = 0; at < positions; ) {
      const n = Math.min(positions - at, this.#cache.room);
      const rows = Array.from({ length: this.#batch }, (_, b) => ids.subarray(b * positions + at, b * positions + at + n));
      const part = await this.#piece(Int32Array.from(rows.flatMap((row) => [...row])), n);
      for (let b = 0; b < this.#batch; b++)
        logits.set(part.subarray(b * n * vocab, (b + 1) * n * vocab), (b * positions + at) * vocab);
      at += n;
    }
    return logits;
  }

  /** ids [batch, positions], which see one state of the cache. */
  async #piece(ids: Int32Array, positions: number): Promise<Float32Array> {
    const outputs = await this.#session.run({
      ids: idTensor(ids, this.#batch),
      ...positionFeeds(this.#spec, this.length, positions, this.#factors),
      ...this.#cache.feeds(),
    });
    this.#cache.append(outputs, positions);
    return outputs['logits']!.data as Float32Array;
  }

  /** The session belongs to the model, which other decoders share. */
  async close(): Promise<void> {}
}

async function readWeights(spec: ModelSpec, reader: WeightReader): Promise<Record<string, GraphTensor>> {
  const weights: Record<string, GraphTensor> = {};
  for (const { name, shape, role } of modelTensors(spec)) {
    if (role === 'rope') continue;
    const data = await reader(name);
    const values = shape.reduce((n, d) => n * d, 1);
    if (data.length !== values)
      throw new ModelError({ what: 'a weight has the wrong number of values', where: name, value: data.length, limit: values });
    weights[name] = { type: 'f32', dims: shape, data };
  }
  return weights;
}

function idTensor(ids: Int32Array, batch: number): GraphTensor {
  return { type: 'i64', dims: [batch, ids.length / batch], data: BigInt64Array.from(ids, BigInt) };
}

/** @throws ModelError when ids do not fill [batch, length] or are not in the vocabulary. */
export function checkIds({ vocab }: ModelSpec, ids: Int32Array, batch: number, length: number): void {
  const whole = (n: number) => Number.isInteger(n) && n > 0;
  if (!whole(batch) || !whole(length) || ids.length !== batch * length)
    throw new ModelError({
      what: 'token ids do not fill [batch, length]',
      value: `${ids.length} ids`,
      limit: `[${batch}, ${length}]`,
    });
  const wrong = ids.find((id) => id < 0 || id >= vocab);
  if (wrong !== undefined)
    throw new ModelError({
      what: 'a token id is outside the vocabulary',
      value: wrong,
      limit: vocab - 1,
      next: 'use the tokenizer of this model',
    });
}
