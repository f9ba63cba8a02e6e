/** ONNX Runtime in Node: the native binding where it is installed, else WebAssembly. */
import { availableParallelism } from 'node:os';
import { env } from 'node:process';
import { ModelError } from '../errors.ts';
import type { Backend, LoadedRuntime, OnnxRuntime, RuntimeOptions } from './onnx-runtime.ts';

/** `FEWBITS_RUNTIME=wasm` and `FEWBITS_RUNTIME=native` insist on a backend. */
const variable = 'FEWBITS_RUNTIME';

/** @throws ModelError when a backend is demanded that cannot be loaded. */
export async function loadRuntime({ threads, runtime }: RuntimeOptions = {}): Promise<LoadedRuntime> {
  const wanted = runtime ?? wantedByEnvironment();
  if (wanted === 'wasm') return loadWasm(threads, 'WebAssembly was asked for');
  try {
    // A name in a variable: TypeScript and bundlers must do without the optional package.
    const name: string = 'onnxruntime-node';
    const module = (await import(name)) as { default: OnnxRuntime };
    return { ort: module.default, backend: 'native' };
  } catch (error) {
    const why = error instanceof Error ? (error.message.split('\n')[0] ?? '') : `${error}`;
    if (wanted === 'native')
      throw new ModelError({
        what: 'the native ONNX Runtime cannot be loaded',
        value: why,
        next: 'npm install onnxruntime-node',
      });
    return loadWasm(
      threads,
      `onnxruntime-node cannot be loaded (${why}); ONNXRUNTIME_NODE_INSTALL=skip npm install onnxruntime-node brings it`,
    );
  }
}

function wantedByEnvironment(): Backend | undefined {
  const value = env[variable];
  if (value === undefined || value === '' || value === 'native' || value === 'wasm') return value || undefined;
  throw new ModelError({ what: 'unknown runtime', where: variable, value, limit: 'native, wasm' });
}

async function loadWasm(threads: number | undefined, reason: string): Promise<LoadedRuntime> {
  const ort = await import('onnxruntime-web');
  // The number of threads is fixed when the first session is made.
  ort.env.wasm.numThreads = threads || availableParallelism();
  return { ort, backend: 'wasm', reason };
}
