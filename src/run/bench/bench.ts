/** `fewbits bench`: the machine, a model's steps on it, operators of large models, and quantization itself. */
import { RecipeError } from '../../errors.ts';
import type { Model } from '../../format/types.ts';
import { decoderSize, type Machine } from '../../hardware/index.ts';
import type { ModelSpec } from '../../model/index.ts';
import { runnableSpec } from '../language.ts';
import { weightReader } from '../weights.ts';
import { defaultBlock, type KernelName, kernelNames } from './kernels.ts';
import { type BenchRun, benchModel, type ModelBenchOptions, workingSets } from './model.ts';
import { benchOperators, type OperatorRow } from './operators.ts';
import { type BandwidthPoint, type ProbeOptions, probeMachine } from './probe.ts';
import { benchQuantization, type QuantizationRow } from './quantization.ts';

export interface BenchOptions extends Partial<Omit<ModelBenchOptions, 'rotations'>>, Pick<ProbeOptions, 'title' | 'memory'> {
  /** Single operators (true), and quantization by type (true). */
  operators?: boolean;
  quantization?: boolean;
}

export interface BenchReport {
  machine: Machine & { bandwidths: readonly BandwidthPoint[]; backend: 'native' | 'wasm'; threads?: number };
  runs: BenchRun[];
  operators: OperatorRow[];
  quantization: QuantizationRow[];
  warnings: string[];
}

/** @throws ModelError for what cannot be run, RecipeError for more tokens than the model has context for */
export async function bench(model: Model, options: BenchOptions = {}): Promise<BenchReport> {
  const { operators = true, quantization = true, title, memory, onProgress, signal, ...rest } = options;
  const spec = runnableSpec(model);
  const warnings = [...model.warnings];
  const { threads, runtime } = rest;
  const shared = { ...(threads !== undefined && { threads }), ...(runtime && { runtime }), ...tools(onProgress, signal) };
  const settings: ModelBenchOptions = {
    kernels: kernelNames,
    batches: [1, 4],
    promptTokens: Math.min(128, spec.context >> 1),
    tokens: Math.min(64, spec.context >> 1),
    runs: 3,
    block: defaultBlock,
    ...rest,
    ...tools(onProgress, signal),
    ...(model.online && { rotations: model.online }),
  };
  checkContext(spec, settings);
  settings.kernels = fitting(spec, settings.kernels, memory, warnings);
  if (model.kv || model.tensors.some(({ input }) => input))
    warnings.push('inputs and caches are measured as each kernel has them, not as the file says');

  const probe = await probeMachine({
    ...shared,
    workingSets: workingSets(spec, settings),
    ...(title !== undefined && { title }),
    ...(memory !== undefined && { memory }),
  });
  if (probe.backend === 'wasm') warnings.push('ONNX Runtime runs as WebAssembly here: the native one is several times faster');
  const reader = weightReader(model);
  try {
    const runs = await benchModel(spec, reader, probe, settings);
    onProgress?.('quantization');
    return {
      machine: {
        ...probe.machine,
        bandwidths: probe.bandwidths,
        backend: probe.backend,
        ...(threads !== undefined && { threads }),
      },
      runs,
      operators: operators ? await benchOperators(probe.machine, shared) : [],
      quantization: quantization ? await benchQuantization() : [],
      warnings,
    };
  } finally {
    await reader.close?.();
  }
}

function tools(onProgress: BenchOptions['onProgress'], signal: AbortSignal | undefined) {
  return { ...(onProgress && { onProgress }), ...(signal && { signal }) };
}

function checkContext({ context }: ModelSpec, { promptTokens, tokens }: ModelBenchOptions): void {
  if (promptTokens + tokens <= context) return;
  throw new RecipeError({
    what: 'the prompt and what is generated do not fit the context of the model',
    value: promptTokens + tokens,
    limit: context,
    next: 'lower --prompt-tokens or --tokens',
  });
}

/** The session holds weights beside those that are read for it: floats of a model that is nearly as large as memory are left out. */
function fitting(
  spec: ModelSpec,
  names: readonly KernelName[],
  memory: number | undefined,
  warnings: string[],
): readonly KernelName[] {
  const floats = 2 * 4 * decoderSize(spec).parameters;
  if (memory === undefined || floats < memory || !names.includes('f32')) return names;
  warnings.push(
    `f32 is left out: its weights, twice while it loads, are ${(floats / 1e9).toFixed(1)} GB, the memory ${(memory / 1e9).toFixed(1)} GB`,
  );
  return names.filter((name) => name !== 'f32');
}
