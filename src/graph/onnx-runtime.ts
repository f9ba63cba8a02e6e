/** What both twins of `#graph/runtime` give, and the one way in which ONNX Runtime is asked to run. */
import type { InferenceSession, Tensor, TypedTensor } from 'onnxruntime-web';
import type { EncodedGraph } from './encode.ts';

export type Backend = 'native' | 'wasm';

export interface RuntimeOptions {
  /** Threads of one operator; undefined = as many as the machine has cores. */
  readonly threads?: number;
  /** Threads that wait between operators without giving up their core: quicker for small operators, the default; costly beside others. */
  readonly spin?: boolean;
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
  { threads = 0, spin = true }: RuntimeOptions,
): InferenceSession.SessionOptions {
  return {
    executionProviders: [backend === 'native' ? 'cpu' : 'wasm'],
    graphOptimizationLevel: 'all',
    intraOpNumThreads: threads,
    externalData: external.map(({ path, data }) => ({ path, data })),
    logSeverityLevel: 3,
    // Without it, weight-only Q/DQ pairs are fused into kernels that round the activations to 8 bits: another model.
    extra: { session: { qdq_matmulnbits_accuracy_level: '0', intra_op: { allow_spinning: spin ? '1' : '0' } } },
  };
}
