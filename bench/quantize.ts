/**
 * File to file: `fewbits quantize` beside llama.cpp's own quantizer, on the same f16 GGUF file, with equal threads, as whole
 * processes. Runs alternate, so that a slow minute of the machine hits all alike; the outputs are compared byte by byte.
 */
import { closeSync, openSync, readSync, rmSync } from 'node:fs';
import path from 'node:path';
import { firstDifference } from '../interop/gguf.ts';
import { NotInstalled, resolveInterop } from '../interop/koffi.ts';
import { interopMain } from '../interop/project.ts';
import { checkpointBytes, makeCheckpoint, workFolder } from './checkpoint.ts';
import { measure, measureFewbits, median, type Run } from './measure.ts';
import { fixed, megabytes, progress, publish } from './results.ts';

export interface QuantizeBenchOptions {
  types: string[];
  layers: number;
  threads: number;
  runs: number;
  /** One type for all matrices; else the mixture of the file type (a tied embedding is q6_k in a q4_0 file). */
  pure: boolean;
  /** Also quantize the bf16 Hugging Face folder, which llama.cpp does not read. */
  huggingface: boolean;
}

export const defaultTypes = ['q4_0', 'q8_0', 'q4_k_s', 'q6_k'];
/** File types that need no importance matrix. */
export const allTypes = [
  ...defaultTypes,
  ...['q4_1', 'q5_0', 'q5_1', 'q2_k', 'q3_k_m', 'q4_k_m', 'q5_k_m', 'iq4_nl', 'iq4_xs', 'f16', 'bf16', 'f32'],
];

/** One way to make a file of a type. */
interface Contender {
  name: string;
  run(type: string, output: string): Promise<Run>;
}

interface Row {
  type: string;
  /** Whether fewbits and llama.cpp made the same tensors; null without llama.cpp. */
  equal: boolean | null;
  contenders: Record<string, Summary>;
}

export async function benchQuantize(options: QuantizeBenchOptions): Promise<void> {
  progress('making the checkpoint');
  const source = makeCheckpoint('gguf', options.layers);
  const sourceBytes = checkpointBytes('gguf', source);
  const contenders = listContenders(source, options);
  readThrough(source);
  const rows: Row[] = [];
  for (const type of options.types) rows.push(await benchType(type, contenders, options.runs, sourceBytes));
  publishRows(rows, sourceBytes, options);
}

function listContenders(source: string, { threads, pure, layers, huggingface }: QuantizeBenchOptions): Contender[] {
  const common = ['--threads', `${threads}`, ...(pure ? ['--pure'] : [])];
  const ours = (name: string, model: string, ...extra: string[]): Contender => ({
    name,
    run: (type, output) => measureFewbits(['quantize', model, '-o', output, '--type', type, '--force', ...common, ...extra]),
  });
  const contenders = [ours('fewbits', source, '--verify', 'none')];
  if (hasLlama()) {
    contenders.push({
      name: 'llama.cpp',
      run: (type, output) => measure(interopMain, ['quantize', source, output, type, ...common]),
    });
  } else {
    progress('llama.cpp is not installed (npm ci in interop/): measuring fewbits alone');
  }
  contenders.push(ours('fewbits verified', source));
  if (huggingface) contenders.push(ours('fewbits bf16', makeCheckpoint('huggingface', layers), '--verify', 'none'));
  return contenders;
}

async function benchType(type: string, contenders: Contender[], runs: number, sourceBytes: number): Promise<Row> {
  const output = (name: string): string => path.join(workFolder, `${name.replaceAll(' ', '-')}-${type}.gguf`);
  const remove = (name: string): void => {
    for (const end of ['', '.report.json']) rmSync(output(name) + end, { force: true });
  };
  const measured = new Map<string, Run[]>(contenders.map(({ name }) => [name, []]));
  let equal: boolean | null = null;
  for (let round = 0; round < runs; round++) {
    for (const { name, run } of contenders) {
      const result = await run(type, output(name));
      measured.get(name)!.push(result);
      progress(`${type} ${name}: ${fixed(result.seconds)} s, ${megabytes(result.peak)} MB`);
    }
    if (round === 0 && measured.has('llama.cpp')) {
      const difference = firstDifference(output('fewbits'), output('llama.cpp'));
      if (difference) progress(`${type}: the files differ: ${difference}`);
      equal = difference === undefined;
    }
    for (const { name } of contenders) remove(name);
  }
  const summaries = [...measured].map(([name, all]) => [name, summary(all, sourceBytes)] as const);
  return { type, equal, contenders: Object.fromEntries(summaries) };
}

function publishRows(rows: Row[], sourceBytes: number, { layers, threads, runs, pure }: QuantizeBenchOptions): void {
  const names = Object.keys(rows[0]?.contenders ?? {});
  const beside = names.includes('llama.cpp');
  const mixture = pure ? ', one type for all matrices' : '';
  publish({
    name: pure ? 'quantize-pure' : 'quantize',
    title: `Quantization, file to file${mixture}: GB of 16-bit weights a second, ${threads} threads`,
    setting: { layers, sourceBytes, threads, runs, pure },
    rows: rows.map((row) => ({ ...row })),
    header: [
      'type',
      ...names.map((name) => `${name} GB/s`),
      ...(beside ? ['times llama.cpp', 'same bytes'] : []),
      ...names.map((name) => `${name} MB`),
    ],
    cells: rows.map(({ type, equal, contenders }) => [
      type,
      ...names.map((name) => fixed(contenders[name]!.gigabytesPerSecond)),
      ...(beside ? [fixed(contenders['llama.cpp']!.seconds / contenders['fewbits']!.seconds), equal ? 'yes' : 'NO'] : []),
      ...names.map((name) => megabytes(contenders[name]!.peak)),
    ]),
  });
}

interface Summary {
  /** Median over the runs, and all of them. */
  seconds: number;
  all: number[];
  gigabytesPerSecond: number;
  peak?: number;
  peakAnonymous?: number;
}

function summary(runs: Run[], sourceBytes: number): Summary {
  const all = runs.map((run) => Number(run.seconds.toFixed(3)));
  const seconds = median(all);
  const largest = (key: 'peak' | 'peakAnonymous'): number => Math.max(...runs.map((run) => run[key] ?? 0));
  const memory = runs.some((run) => run.peak) ? { peak: largest('peak'), peakAnonymous: largest('peakAnonymous') } : {};
  return { seconds, all, gigabytesPerSecond: Number((sourceBytes / seconds / 1e9).toFixed(3)), ...memory };
}

export function hasLlama(): boolean {
  try {
    resolveInterop('koffi');
    return true;
  } catch (error) {
    if (error instanceof NotInstalled) return false;
    throw error;
  }
}

/** Brings a file into the page cache: the first contender must not pay for the disk. */
function readThrough(file: string): void {
  const buffer = Buffer.alloc(8 * 2 ** 20);
  const handle = openSync(file, 'r');
  while (readSync(handle, buffer) > 0);
  closeSync(handle);
}
