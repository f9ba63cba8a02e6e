/**
 * GPTQ on the default model: GGUF files beside llama.cpp's own of the same size, integer grids beside llm-compressor's, what each
 * option gives, and what calibration costs. KL is over strided windows of 256 tokens of the validation text.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { klOf } from '../interop/check-gptq.ts';
import { fewbits, type Json } from '../interop/cli.ts';
import { headlines } from '../interop/headline.ts';
import { interopMain, root } from '../interop/project.ts';
import { grids, peers } from './gptq-peers.ts';
import { steps } from './gptq-steps.ts';
import { measure, measureFewbits, type Run } from './measure.ts';
import { hasLlama } from './quantize.ts';
import { fixed, megabytes, progress, publishTables, type Table } from './results.ts';

const text = path.join(root, 'models', 'text', 'tinystories.valid.txt');
const imatrix = path.join(root, 'test', 'golden', 'gguf', 'tinystories-3.7m.imatrix.gguf');

/** One file that was made and measured. */
interface Made extends Costs {
  name: string;
  maker: string;
  /** Of tensors. */
  bytes: number;
  kl: number;
  perplexity: number;
  sameTop: number;
  /** KL in llama.cpp itself. */
  klLlama?: number;
}

interface Costs {
  /** Of the whole process. */
  seconds: number;
  /** Of all cores. */
  processor?: number;
  peak?: number;
}

/** A file to make: arguments of `fewbits quantize default`, or a call of llama.cpp. */
export interface Wanted {
  name: string;
  maker: string;
  output: string;
  make(output: string): Promise<Run>;
}

export async function benchGptq({ threads }: { threads: number }): Promise<void> {
  const folder = mkdtempSync(path.join(tmpdir(), 'fewbits-gptq-'));
  const ours = (args: readonly string[]) => (output: string) =>
    measureFewbits(['quantize', 'default', '-o', output, '--threads', `${threads}`, ...args]);
  try {
    const statistics = path.join(folder, 'statistics.safetensors');
    const costs = await measureFewbits(['calibrate', 'default', '-o', statistics]);
    progress(`calibrate: ${fixed(costs.seconds)} s`);
    const headline = await measured(folder, await headlineFiles(folder, ours, threads));
    const onGrids = await measured(folder, gridFiles(ours));
    const byStep = await measured(folder, await stepFiles(folder, ours, statistics));
    const setting = { threads, text: 'models/text/tinystories.valid.txt', context: 256, protocol: 'strided' };
    publishTables('gptq', setting, {
      headline: headlineTable(headline),
      grids: gridTable(onGrids),
      steps: stepTable(byStep),
      calibrate: calibrateTable(costs),
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

type Ours = (args: readonly string[]) => (output: string) => Promise<Run>;

async function headlineFiles(folder: string, ours: Ours, threads: number): Promise<Wanted[]> {
  const f16 = path.join(folder, 'f16.gguf');
  for (const type of ['f16', 'f32'])
    await fewbits(['quantize', 'default', '-o', path.join(folder, `${type}.gguf`), '--type', type]);
  const llama = hasLlama();
  if (!llama) progress('llama.cpp is not installed (npm ci in interop/): measuring fewbits alone');
  return headlines.flatMap(({ type }) => {
    const file = (maker: string, make: Wanted['make']): Wanted => ({ name: type, maker, output: `${type}-${maker}.gguf`, make });
    const gptq = ['--type', type, '--method', 'gptq'];
    return [
      ...(llama
        ? [
            file('llama.cpp', (output) =>
              measure(interopMain, ['quantize', f16, output, type, '--threads', `${threads}`, '--imatrix', imatrix]),
            ),
          ]
        : []),
      file('gptq', ours(gptq)),
      file('sequential', ours([...gptq, '--calibration', 'sequential'])),
    ];
  });
}

function gridFiles(ours: Ours): Wanted[] {
  return grids.flatMap(({ name, bits, group, symmetric, containers }) => {
    const grid = ['--bits', `${bits}`, '--group', `${group}`, symmetric ? '--symmetric' : '--asymmetric', '--method', 'gptq'];
    const file = (maker: string, ...more: string[]): Wanted => ({
      name,
      maker,
      output: `${name}-${maker.replace(' ', '-')}`,
      make: ours([...grid, ...more]),
    });
    return [
      ...containers.map((container) => file(container, '--to', container)),
      file('gptq sequential', '--to', 'gptq', '--calibration', 'sequential'),
    ];
  });
}

async function stepFiles(folder: string, ours: Ours, statistics: string): Promise<Wanted[]> {
  return steps.map(({ name, collects, recipe, options = [] }) => {
    const file = path.join(folder, `${name.replaceAll(/[^a-z0-9]+/g, '-')}`);
    writeFileSync(`${file}.json`, JSON.stringify({ version: 1, container: 'gguf', fileType: 'q3_k_m', ...recipe }));
    const stats = collects ? [] : ['--stats', statistics];
    const args = ['--recipe', `${file}.json`, ...stats, ...options];
    return { name, maker: 'fewbits', output: path.basename(`${file}.gguf`), make: ours(args) };
  });
}

/** Makes all files, compares them with the original, and GGUF files in llama.cpp too where a f32 file lies beside them. */
async function measured(folder: string, wanted: readonly Wanted[]): Promise<Made[]> {
  const costs: Run[] = [];
  for (const { name, maker, output, make } of wanted) {
    const run = await make(path.join(folder, output));
    progress(`${name} ${maker}: ${fixed(run.seconds)} s`);
    costs.push(run);
  }
  const files = wanted.map(({ output }) => path.join(folder, output));
  const compared = await fewbits(['compare', 'default', ...files, '--text', text, '--protocol', 'strided', '--context', '256']);
  const models = compared['models'] as { bytes: number; perplexity: number; sameTop: number; kl: { mean: number } }[];
  const inLlama = hasLlama() && wanted.some(({ maker }) => maker === 'llama.cpp');
  const llama = inLlama ? await klOf(path.join(folder, 'f32.gguf'), files, text) : undefined;
  return wanted.map(({ name, maker }, i) => {
    const { seconds, processor, peak } = costs[i]!;
    const { bytes, perplexity, sameTop, kl } = models[i]!;
    const klLlama = llama?.get(files[i]!);
    return {
      ...{ name, maker, bytes, kl: kl.mean, perplexity, sameTop, seconds },
      ...(processor && { processor }),
      ...(peak && { peak }),
      ...(klLlama !== undefined && { klLlama }),
    };
  });
}

const makers: Readonly<Record<string, string>> = {
  'llama.cpp': 'llama.cpp, imatrix',
  gptq: 'fewbits, gptq',
  sequential: 'fewbits, gptq sequential',
};

function headlineTable(rows: readonly Made[]): Table {
  return {
    title: "GGUF files of one size: llama.cpp's quantizer with an importance matrix, and GPTQ (default model)",
    rows: rows.map((row) => ({ ...row })),
    header: ['type', 'made by', 'bytes', 'KL in llama.cpp', 'KL', 'perplexity', 'seconds', 'all cores'],
    cells: rows.map((row) => [
      row.name,
      makers[row.maker]!,
      `${row.bytes}`,
      row.klLlama?.toFixed(5) ?? '-',
      row.kl.toFixed(5),
      fixed(row.perplexity, 4),
      ...costCells(row),
    ]),
  };
}

function gridTable(rows: readonly Made[]): Table {
  const lines = grids.flatMap(({ name }) => {
    const peer = peers.get(name)!;
    const others = rows.filter((row) => row.name === name);
    return [
      { row: peer as unknown as Json, cells: [name, peer.source, peer.klMean.toFixed(5), fixed(peer.perplexity, 4), '-', '-'] },
      ...others.map((row) => ({
        row: { ...row } as Json,
        cells: [name, `fewbits, ${row.maker}`, row.kl.toFixed(5), fixed(row.perplexity, 4), ...costCells(row)],
      })),
    ];
  });
  return {
    title: 'Integer grids by GPTQ: 128 windows of 256 tokens, embedding kept (default model)',
    rows: lines.map(({ row }) => row),
    header: ['bits-group-symmetry', 'made by', 'KL', 'perplexity', 'seconds', 'all cores'],
    cells: lines.map(({ cells }) => cells),
  };
}

function stepTable(rows: readonly Made[]): Table {
  return {
    title: 'What each option gives: q3_k_m (default model)',
    rows: rows.map((row) => ({ ...row })),
    header: ['options', 'KL', 'perplexity', 'seconds', 'all cores'],
    cells: rows.map((row) => [row.name, row.kl.toFixed(5), fixed(row.perplexity, 4), ...costCells(row)]),
  };
}

function calibrateTable(run: Run): Table {
  const { seconds, processor, peak, json } = run;
  const row = {
    tokens: json['tokens'],
    tensors: json['tensors'],
    seconds,
    ...(processor && { processor }),
    ...(peak && { peak }),
  };
  return {
    title: 'fewbits calibrate default: all statistics of the inputs of all linears',
    rows: [row],
    header: ['tokens', 'linears', 'seconds', 'all cores', 'peak MB'],
    cells: [[`${row.tokens}`, `${row.tensors}`, ...costCells(run), megabytes(peak)]],
  };
}

function costCells({ seconds, processor }: Costs): [string, string] {
  return [fixed(seconds, 1), processor === undefined ? '-' : fixed(processor, 1)];
}
