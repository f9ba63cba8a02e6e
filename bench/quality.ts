/** What each type costs on the default model: size, perplexity, KL and same-top, as a table and as the picture in docs/. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { frontPicture, standalone } from 'fewbits/evaluate';
import { fewbits, type Json } from '../interop/cli.ts';
import { root } from '../interop/project.ts';
import { fixed, progress, publish } from './results.ts';

/** Label, output name, options of `fewbits quantize`. */
const outputs: readonly (readonly [label: string, output: string, options: readonly string[]])[] = [
  ...[
    'q8_0',
    'q6_k',
    'q5_k_m',
    'q5_k_s',
    'q5_1',
    'q5_0',
    'q4_k_m',
    'q4_k_s',
    'q4_1',
    'q4_0',
    'iq4_nl',
    'iq4_xs',
    'q3_k_l',
    'q3_k_m',
    'q3_k_s',
    'q2_k',
  ].map((type) => [type, `${type}.gguf`, ['--type', type]] as const),
  ...[8, 6, 5, 4, 3, 2].flatMap((bits) =>
    (['symmetric', 'asymmetric'] as const).map(
      (kind) =>
        [
          `int${bits} g64 ${kind === 'symmetric' ? 'sym' : 'asym'}`,
          `int${bits}-${kind}`,
          ['--bits', `${bits}`, '--group', '64', `--${kind}`],
        ] as const,
    ),
  ),
];

/** The same types by GPTQ, from statistics that are collected once. */
const byGptq = new Set(['q4_k_m', 'q4_0', 'q3_k_m', 'q2_k', ...[4, 3].map((bits) => `int${bits} g64 asym`)]);
const gptqOutputs: typeof outputs = outputs
  .filter(([label]) => byGptq.has(label))
  .map(([label, output, options]) => [
    `${label} gptq`,
    `gptq-${output}`,
    // In the container of the others, so that the size is the same.
    [...options, '--method', 'gptq', ...(label.startsWith('int') ? ['--to', 'fewbits'] : [])],
  ]);

/** The types that the picture shows: all of them would hide each other's names. */
const pictured = new Set([
  ...['q8_0', 'q6_k', 'q5_k_m', 'q4_k_m', 'q4_0', 'q3_k_m', 'q3_k_s', 'q2_k'],
  ...[8, 6, 5, 4, 3, 2].map((bits) => `int${bits} g64 asym`),
]);

export async function benchQuality(): Promise<void> {
  const folder = mkdtempSync(path.join(tmpdir(), 'fewbits-quality-'));
  try {
    const statistics = path.join(folder, 'statistics.safetensors');
    await fewbits(['calibrate', 'default', '-o', statistics, '--kinds', 'hessian']);
    for (const [label, output, options] of outputs) {
      progress(label);
      await fewbits(['quantize', 'default', '-o', path.join(folder, output), ...options]);
    }
    for (const [label, output, options] of gptqOutputs) {
      progress(label);
      await fewbits(['quantize', 'default', '-o', path.join(folder, output), ...options, '--stats', statistics]);
    }
    const made = [...outputs, ...gptqOutputs];
    const files = made.map(([, output]) => path.join(folder, output));
    const result = await fewbits(['compare', 'default', ...files, '--protocol', 'strided', '--context', '256']);
    const models = result['models'] as unknown as Compared[];
    const reference = result['reference'] as unknown as { perplexity: number; tokens: number };
    const rows = models.map((model, i) => ({ ...model, model: made[i]![0] }));
    publish({
      name: 'quality',
      title: `What each type costs (default model, ${reference.tokens} tokens of unseen text)`,
      setting: {
        protocol: 'strided',
        context: 256,
        text: 'models/text/tinystories.valid.txt',
        referencePerplexity: reference.perplexity,
      },
      rows: rows as unknown as Json[],
      header: ['type', 'bits/weight', 'perplexity', 'KL mean', 'KL p99', 'same top %'],
      cells: [
        ['original (bf16)', '16.000', fixed(reference.perplexity, 4), '0', '0', '100'],
        ...rows.map((r) => [
          r.model,
          fixed(r.bitsPerWeight, 3),
          fixed(r.perplexity, 4),
          r.kl.mean.toPrecision(3),
          r.kl.p99.toPrecision(3),
          fixed(100 * r.sameTop),
        ]),
      ],
    });
    mkdirSync(path.join(root, 'docs'), { recursive: true });
    const points = rows.filter(({ model }) => pictured.has(model.replace(' gptq', '')));
    const picture = frontPicture(
      points.map(({ model, bitsPerWeight, kl }) => ({
        label: model,
        ...{ x: bitsPerWeight, y: kl.mean, left: !model.startsWith('int'), unlabelled: model.endsWith(' gptq') },
        series: model.endsWith(' gptq') ? 'with GPTQ' : model.startsWith('int') ? 'int, embedding kept' : 'GGUF types',
      })),
      {
        title: 'What each type costs: bits a weight against KL from the original (lower left is better)',
        squares: ['int, embedding kept'],
      },
    );
    const svg = standalone(picture);
    writeFileSync(path.join(root, 'docs', 'size-and-loss.svg'), svg);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Compared {
  model: string;
  bytes: number;
  bitsPerWeight: number;
  perplexity: number;
  kl: { mean: number; median: number; p90: number; p99: number; max: number };
  sameTop: number;
  sameTopError: number;
}
