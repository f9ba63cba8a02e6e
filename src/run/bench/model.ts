/** A model's prompts and tokens a second with each kernel, beside what the roofline of the probed machine and the runtime's overhead allow. */
import { type LanguageModelOptions, loadLanguageModel, type WeightReader } from '../../graph/index.ts';
import {
  type DecoderPhase,
  type DecoderRoofline,
  decoderRoofline,
  decoderSize,
  decodeWork,
  type Expectation,
  type Reason,
  reasonsOf,
  withOverhead,
} from '../../hardware/index.ts';
import type { ModelSpec } from '../../model/index.ts';
import type { Times } from './clock.ts';
import { loadEmpty, measureSteps, type StepTimes, withKernel } from './decode.ts';
import { type CodedLinears, type Kernel, type KernelName, kernels, precisionOfKernel, quantizedLinears } from './kernels.ts';
import { machineAt, type Probe } from './probe.ts';
import { openProducts } from './products.ts';

export interface ModelBenchOptions extends LanguageModelOptions {
  kernels: readonly KernelName[];
  batches: readonly number[];
  promptTokens: number;
  tokens: number;
  runs: number;
  /** Inputs that share a scale of int4, where they divide the width. */
  block: number;
  onProgress?: (text: string) => void;
  signal?: AbortSignal;
}

export interface BenchRun {
  kernel: KernelName;
  precision: string;
  phase: DecoderPhase;
  batch: number;
  /** Of the prompt; before and after the middle of what is generated. */
  tokens: number;
  /** Measured: by the typical step. */
  tokensPerSecond: number;
  seconds: Times;
  /** Of these, all matrix products, measured alone at these shapes. */
  productSeconds: number;
  predicted: {
    tokensPerSecond: number;
    bound: Expectation['bound'];
    seconds: number;
    overheadSeconds: number;
    /** The roofline alone: at the bandwidth that this working set gets, and at that of memory. */
    roofline: Pick<DecoderRoofline, 'tokensPerSecond' | 'bound' | 'seconds' | 'intensity'>;
    memoryTokensPerSecond: number;
    /** Bytes that a step reads. */
    bytes: number;
    bandwidth: number;
  };
  /** Measured by predicted tokens a second; and by the roofline alone. */
  ratio: number;
  rooflineRatio: number;
  /** Where the ratio, or that to the roofline of memory, is outside of a factor of two. */
  reasons: Reason[];
}

/** Weights and cache in f32 are computed with as they are: 32 bits a key or value. */
const cache = { bits: 32 };

/** Bytes of weights and cache that a step of each kernel reads. */
export function workingSets(spec: ModelSpec, { kernels: names, promptTokens, block }: ModelBenchOptions): number[] {
  return names.map((name) => stepBytes(spec, kernels[name], block, promptTokens, 1));
}

function stepBytes(spec: ModelSpec, kernel: Kernel, block: number, tokens: number, batch: number): number {
  const work = decodeWork(decoderSize(spec), precisionOfKernel(kernel, spec, block), { tokens, batch, cache });
  return work.weightBytes + work.cacheBytes;
}

export async function benchModel(
  spec: ModelSpec,
  reader: WeightReader,
  probe: Probe,
  options: ModelBenchOptions,
): Promise<BenchRun[]> {
  const { kernels: names, batches, promptTokens, tokens, runs, block, onProgress, signal, ...runtime } = options;
  const rows: BenchRun[] = [];
  let coded: { weights: Kernel['weights']; linears: CodedLinears } | undefined;
  for (const name of names) {
    const kernel = kernels[name];
    const { weights } = kernel;
    signal?.throwIfAborted();
    onProgress?.(`${name}: loading`);
    if (weights === 'f32') coded = undefined;
    else if (coded?.weights !== weights) coded = { weights, linears: await quantizedLinears(spec, reader, weights, block) };
    const shared: WeightReader = (tensor) => reader(tensor);
    const language = await loadLanguageModel(spec, shared, withKernel(runtime, kernel, coded?.linears));
    const empty = await loadEmpty(spec, kernel, runtime);
    const products = await openProducts(spec, shared, kernel, coded?.linears, runtime);
    try {
      for (const batch of batches) {
        onProgress?.(`${name}: batch ${batch}`);
        const at = { batch, promptTokens, tokens, ...(signal && { signal }) };
        const overhead = await measureSteps(empty, { ...at, runs: Math.min(runs, 2) });
        const measured = await measureSteps(language, { ...at, runs });
        for (const phase of ['prefill', 'decode'] as const) {
          const alone = await products.seconds(phase === 'prefill' ? batch * promptTokens : batch);
          rows.push(row(spec, kernel, probe, options, phase, batch, measured, overhead, alone));
        }
      }
    } finally {
      await language.close();
      await empty.close();
      await products.close();
    }
  }
  return rows;
}

function row(
  spec: ModelSpec,
  kernel: Kernel,
  probe: Probe,
  { promptTokens, tokens: generated, block }: ModelBenchOptions,
  phase: DecoderPhase,
  batch: number,
  measured: StepTimes,
  overhead: StepTimes,
  products: number,
): BenchRun {
  const precision = precisionOfKernel(kernel, spec, block);
  // The decoder gives the logits of every token, not of the last one only.
  const size = { ...decoderSize(spec), output: 0 };
  const tokens = phase === 'prefill' ? promptTokens : promptTokens + (generated >> 1);
  const bytes = stepBytes(spec, kernel, block, tokens, batch);
  const machine = machineAt(probe, bytes);
  const at = { tokens, batch, cache };
  const roofline = decoderRoofline(size, precision, machine, phase, at);
  const memory = decoderRoofline(size, precision, probe.machine, phase, at);
  const expected = withOverhead(roofline, overhead[phase].typical);
  const seconds = measured[phase];
  const computed = batch * (phase === 'prefill' ? tokens : 1);
  const tokensPerSecond = computed / seconds.typical;
  return {
    kernel: kernel.name,
    precision: kernel.title,
    phase,
    batch,
    tokens,
    tokensPerSecond,
    seconds,
    productSeconds: products,
    predicted: {
      tokensPerSecond: computed / expected.seconds,
      bound: expected.bound,
      seconds: expected.seconds,
      overheadSeconds: expected.overheadSeconds,
      roofline: {
        tokensPerSecond: roofline.tokensPerSecond,
        bound: roofline.bound,
        seconds: roofline.seconds,
        intensity: roofline.intensity,
      },
      memoryTokensPerSecond: memory.tokensPerSecond,
      bytes,
      bandwidth: machine.bandwidth,
    },
    ratio: expected.seconds / seconds.typical,
    rooflineRatio: roofline.seconds / seconds.typical,
    reasons: reasonsOf({
      measured: seconds.typical,
      expected,
      roofline: roofline.seconds,
      memoryRoofline: memory.seconds,
      products,
      dequantizes: kernel.weights === 'int4' && kernel.compute === 'fp32',
    }),
  };
}
