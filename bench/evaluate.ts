/** Forward passes: tokens a second of `fewbits evaluate` on the default model, by runtime. */
import path from 'node:path';
import { root } from '../interop/project.ts';
import { measureFewbits, median, type Run } from './measure.ts';
import { fixed, megabytes, progress, publish } from './results.ts';

/** `native` is ONNX Runtime's own library, `wasm` the one of browsers. */
const runtimes: Record<string, Record<string, string>> = { native: {}, wasm: { FEWBITS_RUNTIME: 'wasm' } };

export async function benchEvaluate({ runs }: { runs: number }): Promise<void> {
  const text = path.join(root, 'models', 'text', 'tinystories.valid.txt');
  const args = ['evaluate', 'default', '--text', text, '--protocol', 'strided', '--context', '256'];
  const measured = new Map<string, Run[]>(Object.keys(runtimes).map((name) => [name, []]));
  for (let round = 0; round < runs; round++) {
    for (const [name, env] of Object.entries(runtimes)) {
      const run = await measureFewbits(args, env);
      measured.get(name)!.push(run);
      progress(`${name}: ${fixed(run.seconds)} s, ${megabytes(run.peak)} MB`);
    }
  }
  const rows = [...measured].map(([runtime, all]) => {
    const figure = (key: string): number[] => all.map((run) => run.json[key] as number);
    const tokens = figure('tokens')[0]!;
    return {
      runtime,
      tokens,
      perplexity: figure('perplexity')[0]!,
      tokensPerSecond: Math.round(tokens / median(figure('seconds'))),
      wallSeconds: Number(median(all.map((run) => run.seconds)).toFixed(3)),
      peak: Math.max(...all.map((run) => run.peak ?? 0)),
    };
  });
  publish({
    name: 'evaluate',
    title: 'Evaluation of the default model (3.7 M parameters, windows of 256 tokens)',
    setting: { runs, arguments: args.map((argument) => (argument === text ? path.relative(root, text) : argument)) },
    rows,
    header: ['runtime', 'tokens', 'tokens/s', 'perplexity', 'whole process s', 'peak MB'],
    cells: rows.map((row) => [
      row.runtime,
      `${row.tokens}`,
      `${row.tokensPerSecond}`,
      fixed(row.perplexity, 4),
      fixed(row.wallSeconds),
      megabytes(row.peak),
    ]),
  });
}
