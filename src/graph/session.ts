/** ONNX Runtime behind one face: a graph in, a GraphSession out. */
import type { InferenceSession, Tensor } from 'onnxruntime-web';
import { loadRuntime } from '#graph/runtime';
import { ModelError } from '../errors.ts';
import { encodeGraph } from './encode.ts';
import type { Graph } from './ir.ts';
import { type LoadedRuntime, type RuntimeOptions, sessionOptions } from './onnx-runtime.ts';
import type { GraphSession, GraphTensor } from './types.ts';

const tensorTypes = { f32: 'float32', f16: 'float16', i64: 'int64', i32: 'int32', u8: 'uint8', bool: 'bool' } as const;

/**
 * Compiles `graph`. Constants are copied by the runtime, inputs are read in place (native) on each run.
 * @throws ModelError with ONNX Runtime's message when the graph is refused.
 */
export async function createSession(graph: Graph, options: RuntimeOptions = {}): Promise<GraphSession> {
  return createSessionWith(await loadRuntime(options), graph, options);
}

export async function createSessionWith(runtime: LoadedRuntime, graph: Graph, options: RuntimeOptions): Promise<GraphSession> {
  const { ort, backend } = runtime;
  const encoded = encodeGraph(graph);
  const session = await told(graph.name, () =>
    ort.InferenceSession.create(encoded.model, sessionOptions(encoded, backend, options)),
  );
  return new OnnxSession(runtime, session, graph.name);
}

class OnnxSession implements GraphSession {
  readonly backend;
  readonly #ort;
  readonly #session: InferenceSession;
  readonly #name: string;
  /** One run at a time: WebAssembly sessions refuse a second one. */
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor({ ort, backend }: LoadedRuntime, session: InferenceSession, name: string) {
    this.#ort = ort;
    this.backend = backend;
    this.#session = session;
    this.#name = name;
  }

  run(feeds: Record<string, GraphTensor>): Promise<Record<string, GraphTensor>> {
    const turn = this.#last.then(() => this.#run(feeds));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#last;
    await this.#session.release();
  }

  async #run(feeds: Record<string, GraphTensor>): Promise<Record<string, GraphTensor>> {
    if (this.#closed) throw new ModelError({ what: 'a session was used after it was closed', where: this.#name });
    const inputs: Record<string, Tensor> = {};
    for (const [name, { type, dims, data }] of Object.entries(feeds))
      inputs[name] = new this.#ort.Tensor(tensorTypes[type], data, dims);
    const outputs = await told(this.#name, () => this.#session.run(inputs));
    // WebAssembly runs on this thread and its promises never let timers and signals through: one turn of the event loop does.
    if (this.backend === 'wasm') await new Promise((resolve) => setTimeout(resolve));
    return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, graphTensor(name, tensor as Tensor)]));
  }
}

function graphTensor(name: string, { type, dims, data }: Tensor): GraphTensor {
  if (type === 'float32') return { type: 'f32', dims, data: data as Float32Array };
  if (type === 'int64') return { type: 'i64', dims, data: data as BigInt64Array };
  if (type === 'int32') return { type: 'i32', dims, data: data as Int32Array };
  if (type === 'bool') return { type: 'bool', dims, data: data as Uint8Array };
  throw new ModelError({ what: 'an output of the graph has an unexpected type', where: name, value: type });
}

/** ONNX Runtime's own errors become ours; its backend prints nothing. */
async function told<T>(graph: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ModelError) throw error;
    throw new ModelError({
      what: 'ONNX Runtime could not run the graph',
      where: graph,
      value: error instanceof Error ? error.message : `${error}`,
    });
  }
}
