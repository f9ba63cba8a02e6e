/** What both twins of `#graph/runtime` give, and the one way in which ONNX Runtime is asked to run. */
import type { InferenceSession, Tensor, TypedTensor } from 'onnxruntime-web';
import type { EncodedGraph } from './encode.ts';

export type Backend = 'native' | 'wasm';

export interface RuntimeOptions {
  /** Threads of one operator; undefined = as many as the machine has cores. */
  readonly threads?: number;
  /**
   * For long work beside other work: memory goes back after each run instead of staying with the session, and threads that wait give
   * up their core. The default is quicker for small graphs that run often.
   */
  readonly considerate?: boolean;
  /** Insists on a backend; default: native where it is installed. */
  readonly runtime?: Backend;
}

/** ONNX Runtime as onnxruntime-node and onnxruntime-web both export it. */
export interface OnnxRuntime {
  readonly InferenceSession: { create(model: Uint8Array, options: InferenceSession.SessionOptions): Promise<InferenceSession> };
  readonly Tensor: new (type: Tensor.Type, data: Tensor.DataType, dims: readonly number[]) => TypedTensor<Tensor.Type>;
}

export interface LoadedRuntime {
  readonly ort: OnnxRuntime;
  readonly backend: Backend;
  /** Why it is not the native one, for the user. */
  readonly reason?: string;
}

export function sessionOptions(
  { external }: EncodedGraph,
  backend: Backend,
  { threads = 0, considerate = false }: RuntimeOptions,
): InferenceSession.SessionOptions {
  return {
    executionProviders: [backend === 'native' ? 'cpu' : 'wasm'],
    graphOptimizationLevel: 'all',
    enableCpuMemArena: !considerate,
    enableMemPattern: !considerate,
    intraOpNumThreads: threads,
    externalData: external.map(({ path, data }) => ({ path, data })),
    logSeverityLevel: 3,
    // Without it, weight-only Q/DQ pairs are fused into kernels that round the activations to 8 bits: another model.
    // Without the second, products of u8 and s8 saturate at 16 bits on x64 processors that lack VNNI.
    extra: {
      session: {
        qdq_matmulnbits_accuracy_level: '0',
        x64quantprecision: '1',
        intra_op: { allow_spinning: considerate ? '0' : '1' },
      },
    },
  };
}
