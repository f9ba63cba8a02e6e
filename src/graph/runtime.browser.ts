/** ONNX Runtime in a browser: WebAssembly; threads need a page with COOP and COEP headers. */
import { ModelError } from '../errors.ts';
import type { LoadedRuntime, RuntimeOptions } from './onnx-runtime.ts';

/** @throws ModelError when the native runtime is demanded. */
export async function loadRuntime({ threads, runtime }: RuntimeOptions = {}): Promise<LoadedRuntime> {
  if (runtime === 'native')
    throw new ModelError({ what: 'a browser has no native ONNX Runtime', next: 'leave the runtime open' });
  const ort = await import('onnxruntime-web/wasm');
  ort.env.wasm.numThreads = crossOriginIsolated ? threads || navigator.hardwareConcurrency : 1;
  return { ort, backend: 'wasm' };
}
