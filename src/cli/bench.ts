/** `fewbits bench`: what kernels of few bits really bring here, beside what the roofline of this machine says. */
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';
import { Command, InvalidArgumentError } from 'commander';
import { type BenchReport, type BenchRun, bench, type KernelName, kernelNames, type OperatorRow } from '../run/index.ts';
import { openModel } from './models.ts';
import { integer, threadsOf, withCommon } from './options.ts';
import { bytesText, type Common, interruptSignal, ProgressLine, printResult, table } from './terminal.ts';

interface BenchFlags extends Common {
  batch?: number[];
  promptTokens?: number;
  tokens?: number;
  runs: number;
  kernels?: KernelName[];
  block: number;
  operators: boolean;
  quantization: boolean;
}

export function benchCommand(): Command {
  return withCommon(new Command('bench'))
    .description('prefill and decode speed of f32, int8 and int4 kernels on this machine, beside what its roofline predicts')
    .argument('<model>')
    .option('--batch <n,..>', 'sequences that are decoded together (1,4)', listOf(integer(1, 1024)))
    .option('--prompt-tokens <n>', "tokens of a prompt (128, or half of the model's context)", integer(1))
    .option('--tokens <n>', 'tokens that are generated, one step each (64)', integer(1))
    .option('--runs <n>', 'prompts of each kind', integer(1, 1000), 5)
    .option('--kernels <name,..>', `${kernelNames.join(', ')} (all)`, listOf(kernelName))
    .option('--block <n>', 'inputs that share a scale of int4: 16, 32, 64, 128, 256', powerOfTwo, 32)
    .option('--no-operators', 'without single operators of large models')
    .option('--no-quantization', 'without the speed of quantization by type')
    .action(async (name: string, flags: BenchFlags) => {
      const model = await openModel(name);
      const progress = new ProgressLine(flags);
      try {
        const threads = threadsOf(flags);
        const [load = 0] = loadavg();
        const { batch, promptTokens, tokens, kernels, runs, block, operators, quantization } = flags;
        const report = await bench(model, {
          threads,
          title: cpus()[0]?.model.trim() || 'this machine',
          memory: totalmem(),
          ...(batch && { batches: batch }),
          ...(promptTokens !== undefined && { promptTokens }),
          ...(tokens !== undefined && { tokens }),
          ...(kernels && { kernels }),
          runs,
          block,
          operators,
          quantization,
          signal: interruptSignal(),
          onProgress: (text) => progress.update(text),
        });
        progress.clear();
        if (load > availableParallelism() / 2)
          report.warnings.push(`other work shares the machine (load ${load.toFixed(1)}): figures are lower than on a quiet one`);
        const document = { ...report, machine: { ...report.machine, load } };
        printResult(flags, document, () => peopleText(report));
        for (const warning of flags.json ? [] : report.warnings) progress.say(`warning: ${warning}`);
      } finally {
        await model.close();
      }
    });
}

function peopleText({ machine, runs, operators, quantization }: BenchReport): string {
  const { rates, bandwidths, threads, title } = machine;
  const reads = bandwidths.map((point) => `${bytesText(point.bandwidth)}/s of ${bytesText(point.bytes)}`).join(', ');
  const parts = [
    `${title}, ${threads} threads: ${giga(rates.fp32)} Gop/s f32, ${giga(rates.int8)} Gop/s int8; reads ${reads}`,
    table(
      [
        '',
        'kernel',
        'batch',
        'tokens/s',
        'predicted',
        'ratio',
        'roofline',
        'in memory',
        'ms',
        'products',
        'overhead',
        'bound by',
        'reasons',
      ],
      runs.map((run) => [
        run.phase,
        run.kernel,
        run.batch,
        whole(run.tokensPerSecond),
        whole(run.predicted.tokensPerSecond),
        run.ratio.toFixed(2),
        whole(run.predicted.roofline.tokensPerSecond),
        whole(run.predicted.memoryTokensPerSecond),
        milliseconds(run.seconds.typical),
        milliseconds(run.productSeconds),
        milliseconds(run.predicted.overheadSeconds),
        run.predicted.bound,
        run.reasons.map(({ code }) => code).join(', '),
      ]),
      [2, 3, 4, 5, 6, 7, 8, 9, 10],
    ),
    ...reasonLines(runs),
  ];
  if (operators.length > 0) parts.push('', operatorTable(operators));
  if (quantization.length > 0)
    parts.push(
      '',
      table(
        ['quantization, one thread', 'GB/s', 'back'],
        quantization.map((row) => [row.type, row.quantize.toFixed(2), row.dequantize.toFixed(2)]),
        [1, 2],
      ),
    );
  return parts.join('\n');
}

function operatorTable(rows: readonly OperatorRow[]): string {
  return table(
    ['where', 'kernel', 'against', 'operator', 'rows', 'ms', 'faster by', 'fewer bytes', 'why'],
    rows.map((row) => [
      row.case,
      row.kernel,
      row.baseline,
      row.operator,
      row.rows,
      (1000 * row.seconds).toPrecision(3),
      `${row.speedup.toPrecision(3)}x`,
      `${row.bytesRatio.toPrecision(3)}x`,
      row.why,
    ]),
    [4, 5, 6, 7],
  );
}

/** Each reason once. */
function reasonLines(runs: readonly BenchRun[]): string[] {
  const texts = new Map(runs.flatMap(({ reasons }) => reasons.map(({ code, text }) => [code, text] as const)));
  return [
    'predicted: the roofline at the bandwidth of this working set, plus the overhead; ratio: measured by predicted; in memory: the roofline of weights that are not in a cache',
    'ms: a step; products: its matrix products alone; overhead: the same operators with next to nothing to compute',
    ...[...texts].map(([code, text]) => `${code}: ${text}`),
  ];
}

function milliseconds(seconds: number): string {
  return (1000 * seconds).toFixed(2);
}

function whole(rate: number): string {
  return rate < 100 ? rate.toPrecision(3) : `${Math.round(rate)}`;
}

function giga(rate: number | undefined): string {
  return ((rate ?? 0) / 1e9).toFixed(0);
}

function listOf<T>(parse: (text: string) => T): (text: string) => T[] {
  return (text) => [...new Set(text.split(',').map((part) => parse(part.trim())))];
}

function kernelName(text: string): KernelName {
  const found = kernelNames.find((name) => name === text);
  if (!found) throw new InvalidArgumentError(`must be among ${kernelNames.join(', ')}.`);
  return found;
}

function powerOfTwo(text: string): number {
  const value = integer(16, 256)(text);
  if ((value & (value - 1)) !== 0) throw new InvalidArgumentError('must be a power of two.');
  return value;
}
