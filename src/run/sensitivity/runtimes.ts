/** Where a model is to run: which container it takes, and what it holds in memory. */
import { RecipeError } from '../../errors.ts';
import type { ContainerName } from '../../format/types.ts';

export interface Runtime {
  container: ContainerName;
  /** Weights stay as the file has them, or are widened to f32 at load. */
  weights: 'packed' | 'f32';
  /** Bytes of one value of the key/value cache. */
  cacheValue: number;
  /** What a user has to know. */
  note?: string;
}

/** A new runtime is a row here. */
export const runtimes: Readonly<Record<string, Runtime>> = {
  'llama.cpp': { container: 'gguf', weights: 'packed', cacheValue: 2 },
  vllm: { container: 'compressed-tensors', weights: 'packed', cacheValue: 2 },
  transformers: {
    container: 'compressed-tensors',
    weights: 'packed',
    cacheValue: 2,
    note: 'transformers needs the package compressed-tensors',
  },
  onnxruntime: {
    container: 'fewbits',
    weights: 'f32',
    cacheValue: 4,
    note: 'fewbits runs the file with ONNX Runtime and widens the weights at load: fewer bits make the file smaller, not the memory',
  },
  browser: {
    container: 'fewbits',
    weights: 'f32',
    cacheValue: 4,
    note: 'fewbits runs the file in WebAssembly and widens the weights at load: fewer bits make the download smaller, not the memory',
  },
};

/** @throws RecipeError for one that is not known */
export function runtimeNamed(name: string): Runtime {
  const runtime = Object.hasOwn(runtimes, name) ? runtimes[name] : undefined;
  if (runtime) return runtime;
  throw new RecipeError({
    what: 'no such runtime',
    where: '--runtime',
    value: name,
    next: `choose one of ${Object.keys(runtimes).join(', ')}`,
  });
}
