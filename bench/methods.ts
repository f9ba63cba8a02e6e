/**
 * Every method of the registry at 8, 4, 3 and 2 bits on one model: bits of the quantized weights, perplexity, KL and same-top on text
 * that the model has not seen, seconds and peak memory of the whole command. The table goes into docs/methods.md too.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { methods } from 'fewbits/recipe';
import { fewbits, type Json } from '../interop/cli.ts';
import { root } from '../interop/project.ts';
import { table } from '../interop/report.ts';
import { measureFewbits, type Run } from './measure.ts';
import { fixed, megabytes, progress, publish } from './results.ts';

interface Entry {
  name: string;
  bits: number;
  options: readonly string[];
}

const widths = [8, 4, 3, 2];
/** Methods that are measured on asymmetric grids, which lose less than symmetric ones below 8 bits. */
const asymmetric = ['rtn', 'gptq', 'awq', 'quarot'];

/** @param group of methods that have groups; those with smaller ones of their own keep them */
function entries(group: number): Entry[] {
  const rows = Object.entries(methods).flatMap(([name, method]) => {
    const bits = widths.filter((one) => method.bits.includes(one));
    const grouped = method.takes.includes('group') && method.group !== -1;
    const options = [
      ...(grouped ? ['--group', `${Math.min(group, method.group)}`] : []),
      ...(asymmetric.includes(name) ? ['--asymmetric'] : []),
    ];
    return (bits.length > 0 ? bits : method.bits.slice(0, 1)).map((one): Entry => {
      const width = method.scheme ? ['--bits', `${one}`] : [];
      return { name, bits: one, options: ['--method', name, ...width, ...options] };
    });
  });
  const more = (name: string, bits: number, options: string[]): Entry => ({ name, bits, options });
  const grouped = ['--group', `${group}`];
  const inputsToo = ['--bits', '4', ...grouped, '--activation-bits', '4'];
  return [
    ...rows,
    more('nf4 --double-quant', 4, ['--method', 'nf4', '--double-quant', ...grouped]),
    more('rtn --activation-bits 8', 8, ['--bits', '8', '--group', '-1', '--activation-bits', '8']),
    more('rtn --activation-bits 4', 4, inputsToo),
    more('quarot --activation-bits 4', 4, ['--method', 'quarot', ...inputsToo]),
    more('kv --kv-bits 2', 16, ['--method', 'kv', '--kv-bits', '2']),
  ].sort((a, b) => b.bits - a.bits);
}

export interface MethodsOptions {
  model: string;
  threads: number;
  context: number;
}

export async function benchMethods({ model, threads, context }: MethodsOptions): Promise<void> {
  const folder = mkdtempSync(path.join(tmpdir(), 'fewbits-methods-'));
  const text = path.join(root, 'models', 'text', 'tinystories.valid.txt');
  const label = model === 'default' ? 'default' : path.basename(model);
  try {
    const made: (Entry & { output: string; run: Run })[] = [];
    const left: { name: string; bits: number; why: string }[] = [];
    for (const [i, entry] of entries(model === 'default' ? 64 : 4).entries()) {
      const output = path.join(folder, `${i}`);
      try {
        const asked = [model, ...entry.options, '--to', 'fewbits'];
        const { calibration } = await fewbits(['plan', ...asked]);
        const windows = calibration ? ['--samples', '128', '--context', `${context}`] : [];
        const run = await measureFewbits(['quantize', ...asked, ...windows, '-o', output, '--threads', `${threads}`]);
        progress(`${entry.name} ${entry.bits}: ${fixed(run.seconds, 1)} s`);
        made.push({ ...entry, output, run });
      } catch (error) {
        const why = (error as Error).message.split('fewbits: ').at(-1)!;
        progress(`${entry.name} ${entry.bits}: ${why}`);
        left.push({ name: entry.name, bits: entry.bits, why });
      }
    }
    const compared = await fewbits([
      ...['compare', model, ...made.map(({ output }) => output), '--text', text],
      ...['--protocol', 'strided', '--context', `${context}`],
    ]);
    const models = compared['models'] as unknown as Compared[];
    const reference = compared['reference'] as unknown as { perplexity: number; tokens: number };
    const rows = made.map(({ name, bits, options, run }, i) => {
      const { model: _, ...figures } = models[i]!;
      return {
        ...{ method: name, bits, options: options.join(' '), bitsPerQuantizedWeight: quantizedBits(run.json) },
        ...{ ...figures, seconds: run.seconds, processorSeconds: run.processor ?? 0, peak: run.peak ?? 0 },
      };
    });
    const header = ['method', 'bits', 'bits/quantized weight', 'perplexity', 'KL mean', 'same top %', 'CPU s', 'peak MB'];
    const cells = rows.map((r) => [
      `\`${r.method}\``,
      `${r.bits}`,
      fixed(r.bitsPerQuantizedWeight, 3),
      fixed(r.perplexity, 4),
      r.kl.mean.toPrecision(3),
      fixed(100 * r.sameTop),
      fixed(r.processorSeconds, 1),
      megabytes(r.peak),
    ]);
    publish({
      name: model === 'default' ? 'methods' : `methods-${label}`,
      title: `Methods on ${label} (${reference.tokens} tokens of unseen text)`,
      setting: { model: label, protocol: 'strided', context, threads, reference: reference as unknown as Json, left },
      rows: rows as unknown as Json[],
      header,
      cells,
    });
    const original = ['original', '', '', fixed(reference.perplexity, 4), '0', '100', '', ''];
    writeIntoPage(label, table(header, [original, ...cells]));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Compared {
  model: string;
  bytes: number;
  bitsPerWeight: number;
  perplexity: number;
  kl: { mean: number; p99: number };
  sameTop: number;
}

/** Between the two marks of this model in docs/methods.md. */
function writeIntoPage(label: string, markdown: string): void {
  const page = path.join(root, 'docs', 'methods.md');
  const [begin, end] = [`<!-- methods: ${label} -->`, `<!-- end of methods: ${label} -->`];
  const before = readFileSync(page, 'utf8');
  const [from, to] = [before.indexOf(begin), before.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${page} has no marks for ${label}`);
  writeFileSync(page, `${before.slice(0, from + begin.length)}\n\n${markdown}\n\n${before.slice(to)}`);
}

/** Of the linears of layers alone: what stays at high precision would hide the difference in a small model. */
function quantizedBits(report: Json): number {
  const tensors = (report['tensors'] as { source: string; bytes: number; scheme: string; values?: number }[]).filter(
    ({ source, values }) => /layers\.\d+\..*proj\.weight$/.test(source) && values,
  );
  const [bytes, values] = tensors.reduce(([b, v], one) => [b + one.bytes, v + one.values!], [0, 0]);
  return values ? (8 * bytes!) / values : 0;
}
