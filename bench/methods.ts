/**
 * Every method at 8, 4, 3 and 2 bits on one model: bits of the quantized weights, perplexity, KL and same-top on text that the model
 * has not seen, seconds and peak memory of the whole command.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fewbits, type Json } from '../interop/cli.ts';
import { root } from '../interop/project.ts';
import { measureFewbits, type Run } from './measure.ts';
import { fixed, megabytes, progress, publish } from './results.ts';

interface Entry {
  name: string;
  bits: number;
  options: readonly string[];
}

/** Groups of 64 where a method has groups: both models divide into them, but for rows that are kept whole. */
const grouped = ['rtn', 'gptq', 'awq', 'quarot', 'hqq', 'sinq', 'zeroquant'];

function entries(group: string): Entry[] {
  const widths = [8, 4, 3, 2];
  const asymmetric = ['rtn', 'gptq', 'awq', 'quarot'];
  const method = (name: string, bits: number, ...more: string[]): Entry => ({
    name: more.length > 0 ? `${name} ${more.join(' ')}` : name,
    bits,
    options: ['--method', name, '--bits', `${bits}`, ...more],
  });
  return [
    ...widths.flatMap((bits) => [
      ...grouped.map((name) => {
        const symmetry = asymmetric.includes(name) ? ['--asymmetric'] : [];
        const entry = method(name, bits);
        return { ...entry, options: [...entry.options, '--group', group, ...symmetry] };
      }),
      method('codebook', bits),
      method('squeezellm', bits),
    ]),
    ...[4, 8].map((bits) => method('mx', bits)),
    method('nf4', 4, '--group', group),
    method('nf4', 4, '--group', group, '--double-quant'),
    method('fp4', 4, '--group', group),
    method('nvfp4', 4),
    method('ternary', 2, '--group', group),
    method('binary', 1, '--group', group),
    method('llm-int8', 8),
    method('smoothquant', 8),
    { name: 'rtn, inputs too', bits: 4, options: ['--bits', '4', '--group', group, '--activation-bits', '4'] },
    {
      name: 'quarot, inputs too',
      bits: 4,
      options: ['--method', 'quarot', '--bits', '4', '--group', group, '--activation-bits', '4'],
    },
    { name: 'kv 4', bits: 16, options: ['--method', 'kv'] },
    { name: 'kv 2', bits: 16, options: ['--method', 'kv', '--kv-bits', '2'] },
  ];
}

export interface MethodsOptions {
  model: string;
  threads: number;
  context: number;
}

export async function benchMethods({ model, threads, context }: MethodsOptions): Promise<void> {
  const folder = mkdtempSync(path.join(tmpdir(), 'fewbits-methods-'));
  const text = path.join(root, 'models', 'text', 'tinystories.valid.txt');
  const label = model === 'default' ? 'default model' : path.basename(model);
  try {
    const made: (Entry & { output: string; run: Run })[] = [];
    const left: { name: string; bits: number; why: string }[] = [];
    for (const [i, entry] of entries(model === 'default' ? '64' : '4').entries()) {
      const output = path.join(folder, `${i}`);
      const windows = ['--samples', '128', '--context', `${context}`];
      const calibrated = ['gptq', 'awq', 'smoothquant', 'squeezellm'].some((name) => entry.name.startsWith(name));
      try {
        const run = await measureFewbits([
          ...['quantize', model, '-o', output, '--to', 'fewbits', '--threads', `${threads}`],
          ...entry.options,
          ...(calibrated ? windows : []),
        ]);
        progress(`${entry.name} ${entry.bits}: ${fixed(run.seconds, 1)} s`);
        made.push({ ...entry, output, run });
      } catch (error) {
        const why = (error as Error).message.split('\n').at(-1)!;
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
    const rows = made.map(({ name, bits, run }, i) => ({
      ...{ method: name, bits, bitsPerQuantizedWeight: quantizedBits(run.json) },
      ...models[i]!,
      ...{ model: label, seconds: run.seconds, peak: run.peak ?? 0 },
    }));
    publish({
      name: model === 'default' ? 'methods' : `methods-${label}`,
      title: `Methods on the ${label} (${reference.tokens} tokens of unseen text)`,
      setting: { model: label, protocol: 'strided', context, threads, referencePerplexity: reference.perplexity, left },
      rows: rows as unknown as Json[],
      header: ['method', 'bits', 'bits/quantized weight', 'perplexity', 'KL mean', 'same top %', 'seconds', 'peak MB'],
      cells: rows.map((r) => [
        r.method,
        `${r.bits}`,
        fixed(r.bitsPerQuantizedWeight, 3),
        fixed(r.perplexity, 4),
        r.kl.mean.toPrecision(3),
        fixed(100 * r.sameTop),
        fixed(r.seconds, 1),
        megabytes(r.peak),
      ]),
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Compared {
  bytes: number;
  bitsPerWeight: number;
  perplexity: number;
  kl: { mean: number; p99: number };
  sameTop: number;
}

/** Of the linears of layers alone: what stays at high precision would hide the difference in a small model. */
function quantizedBits(report: Json): number {
  const tensors = (report['tensors'] as { source: string; bytes: number; scheme: string; values?: number }[]).filter(
    ({ source, values }) => /layers\.\d+\..*proj\.weight$/.test(source) && values,
  );
  const [bytes, values] = tensors.reduce(([b, v], one) => [b + one.bytes, v + one.values!], [0, 0]);
  return values ? (8 * bytes!) / values : 0;
}
