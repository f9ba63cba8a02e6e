/** Prompts and tokens through a model's cache, as `generate` runs them, and the same graph with next to nothing to multiply. */
import { columns, pieceLength } from '../../evaluate/forward.ts';
import { type LanguageModel, type LanguageModelOptions, loadLanguageModel } from '../../graph/index.ts';
import { type ModelSpec, modelTensors } from '../../model/index.ts';
import { Random } from '../../numeric/random.ts';
import { type Times, timesOf } from './clock.ts';
import { type CodedLinears, type Kernel, quantizedLinears } from './kernels.ts';

export interface StepOptions {
  batch: number;
  promptTokens: number;
  /** Tokens after the prompt, a step each. */
  tokens: number;
  runs: number;
  signal?: AbortSignal;
}

export interface StepTimes {
  /** Of a whole prompt. */
  prefill: Times;
  /** Of a token for each sequence. */
  decode: Times;
}

/** Prompts of random tokens: which ones does not matter. A first run that is not counted warms up. */
export async function measureSteps(language: LanguageModel, options: StepOptions): Promise<StepTimes> {
  const { batch, promptTokens, tokens, runs, signal } = options;
  const { vocab } = language.spec;
  const random = new Random(batch);
  const ids = (count: number) => Int32Array.from({ length: count }, () => Math.floor(random.uniform() * vocab));
  const prompt = ids(batch * promptTokens);
  const next = ids(batch);
  const piece = pieceLength(batch, promptTokens, vocab);
  const [prefill, decode]: [number[], number[]] = [[], []];
  for (let run = -1; run < runs; run++) {
    const decoder = await language.decoder(batch);
    const start = performance.now();
    for (let at = 0; at < promptTokens; at += piece) {
      signal?.throwIfAborted();
      await decoder.step(columns(prompt, promptTokens, at, Math.min(at + piece, promptTokens)));
    }
    if (run >= 0) prefill.push((performance.now() - start) / 1000);
    const steps = run < 0 ? Math.min(4, tokens) : tokens;
    for (let i = 0; i < steps; i++) {
      signal?.throwIfAborted();
      const from = performance.now();
      await decoder.step(next);
      if (run >= 0) decode.push((performance.now() - from) / 1000);
    }
    await decoder.close();
  }
  return { prefill: timesOf(prefill), decode: timesOf(decode) };
}

/**
 * The same layers with matrices of 32 x 32: as many operators, next to no work. What its steps take is the runtime's own time, with
 * what JavaScript does around it.
 */
export function emptySpec(spec: ModelSpec): ModelSpec {
  const { heads, kvHeads } = spec;
  return {
    ...spec,
    hidden: 32,
    intermediate: 32,
    heads: 2,
    kvHeads: kvHeads < heads ? 1 : 2,
    headDim: 16,
    vocab: 32,
    rope: { ...spec.rope, dims: 16, scaling: { kind: 'none' } },
  };
}

/** Loads a model of any weights for a kernel. */
export async function loadEmpty(spec: ModelSpec, kernel: Kernel, options: LanguageModelOptions): Promise<LanguageModel> {
  const empty = emptySpec(spec);
  const sizes = new Map(modelTensors(empty).map(({ name, shape }) => [name, shape.reduce((n, d) => n * d, 1)]));
  const random = new Random(1);
  const reader = async (name: string) => Float32Array.from({ length: sizes.get(name)! }, () => random.gaussian() / 8);
  const linears = kernel.weights === 'f32' ? undefined : await quantizedLinears(empty, reader, kernel.weights);
  return loadLanguageModel(empty, reader, withKernel(options, kernel, linears));
}

export function withKernel(options: LanguageModelOptions, kernel: Kernel, linears?: CodedLinears): LanguageModelOptions {
  return kernel.pass && linears ? { ...options, passes: [kernel.pass(linears)] } : options;
}
