import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Command } from 'commander';
import { compare, generate } from '../evaluate/index.ts';
import { type Model, open } from '../format/index.ts';
import type { LanguageModel } from '../graph/index.ts';
import { plan, type QuantizeOptions, recipeFromOptions, weightType } from '../recipe/index.ts';
import { languageModel, run } from '../run/index.ts';
import { sizeOf } from './compare.ts';
import { sayBackend } from './evaluate.ts';
import { evaluationText, openModel, placeOf } from './models.ts';
import { threadsOf, withCommon } from './options.ts';
import { bytesText, type Common, interruptSignal, ProgressLine, pc, secondsText, small, table } from './terminal.ts';

/** What the tour makes: the types people choose from in llama.cpp, and integer grids in our own container. */
const stops: readonly { label: string; output: string; options: QuantizeOptions }[] = [
  { label: 'q8_0', output: 'q8_0.gguf', options: { type: 'q8_0' } },
  { label: 'q6_k', output: 'q6_k.gguf', options: { type: 'q6_k' } },
  { label: 'q4_k_m', output: 'q4_k_m.gguf', options: { type: 'q4_k_m' } },
  { label: 'q4_0', output: 'q4_0.gguf', options: { type: 'q4_0' } },
  { label: 'q3_k_m', output: 'q3_k_m.gguf', options: { type: 'q3_k_m' } },
  { label: 'q2_k', output: 'q2_k.gguf', options: { type: 'q2_k' } },
  { label: 'int8 g64', output: 'int8-g64', options: { bits: 8, group: 64 } },
  { label: 'int4 g64', output: 'int4-g64', options: { bits: 4, group: 64 } },
  { label: 'int4 g64 asym', output: 'int4-g64-asym', options: { bits: 4, group: 64, symmetric: false } },
  { label: 'int3 g64 asym', output: 'int3-g64-asym', options: { bits: 3, group: 64, symmetric: false } },
];

/** Bytes of the built-in text that are scored: enough for stable figures, little enough for a minute on two cores. */
const TEXT_BYTES = 60_000;
const PROMPT = 'Once upon a time, there was a little';

export function tourCommand(): Command {
  return withCommon(new Command('tour'))
    .description('quantizes the built-in model in several ways and shows what each costs (also: fewbits without a command)')
    .option('-o, --output <folder>', 'keep the files here')
    .action(async (flags: Common & { output?: string }) => {
      const folder = flags.output ?? mkdtempSync(path.join(tmpdir(), 'fewbits-tour-'));
      try {
        await tour(folder, flags);
      } finally {
        if (flags.output === undefined) rmSync(folder, { recursive: true, force: true });
      }
    });
}

async function tour(folder: string, flags: Common & { output?: string }): Promise<void> {
  const started = performance.now();
  const progress = new ProgressLine(flags);
  const signal = interruptSignal();
  const threads = threadsOf(flags);
  const say = (text = '') => process.stdout.write(`${text}\n`);
  const model = await openModel('default');
  const opened: { close(): Promise<void> }[] = [model];
  try {
    const { spec } = model;
    say(pc.bold('fewbits makes large language models smaller and shows what that costs.'));
    say(
      `The built-in model writes small stories: a Llama of ${spec!.layers} layers, hidden ${spec!.hidden}, vocabulary ${spec!.vocab}, ${bytesText(sizeOf(model).bytes)} in bf16.`,
    );
    say();
    const made: Made[] = [];
    for (const [i, stop] of stops.entries()) {
      progress.update(`quantizing to ${stop.label} (${i + 1} of ${stops.length})`, true);
      const output = path.join(folder, stop.output);
      const recipe = recipeFromOptions(stop.options, 'model', stop.output, weightType(model));
      const planned = await plan(model, recipe, { output: stop.output, threads });
      const { store } = placeOf(output);
      const report = await run(planned, store, { threads, signal });
      const quantized = await open(output);
      const language = await languageModel(quantized, { threads });
      opened.push(quantized, language);
      const lossy = report.tensors.map((tensor) => tensor.sqnr ?? Number.POSITIVE_INFINITY);
      made.push({
        ...stop,
        model: quantized,
        language,
        bytes: report.bytes,
        seconds: report.seconds,
        sqnr: Math.min(...lossy),
        container: report.container,
      });
    }
    const reference = await languageModel(model, { threads });
    opened.push(reference);
    sayBackend(reference, progress);
    const tokenizer = await model.tokenizer();
    const result = await compare(
      reference,
      made.map((one) => one.language),
      tokenizer,
      evaluationText().slice(0, TEXT_BYTES),
      {
        protocol: 'strided',
        context: 256,
        signal,
        onProgress: ({ done, total }) =>
          progress.update(`comparing ${made.length} models with the original: ${done} of ${total} tokens`),
      },
    );
    progress.clear();
    say(
      `Each was written, read back and verified, then compared with the original on ${result.reference.tokens} tokens it has not seen (strided windows of 256):`,
    );
    say();
    say(
      table(
        ['type', 'container', 'file', 'bits/weight', 'perplexity', 'KL (nats)', 'same top', 'worst SQNR', 'made in'],
        [
          [
            'original',
            'safetensors',
            bytesText(sizeOf(model).bytes),
            '16.000',
            result.reference.perplexity.toFixed(3),
            '0',
            '100 %',
            '',
            '',
          ],
          ...made.map((one, i) => {
            const measured = result.models[i]!;
            return [
              one.label,
              one.container,
              bytesText(one.bytes),
              sizeOf(one.model).bitsPerWeight.toFixed(3),
              measured.perplexity.toFixed(3),
              small(measured.kl.mean),
              `${(100 * measured.sameTop).toFixed(1)} %`,
              `${one.sqnr.toFixed(1)} dB`,
              secondsText(one.seconds),
            ];
          }),
        ],
        [2, 3, 4, 5, 6, 7, 8],
      ),
    );
    say();
    say('KL is how far the next-token probabilities moved; "same top" how often the likeliest token stayed the same.');
    say('The int types keep the embedding, a seventh of this small model, in bf16; the others quantize it too.');
    say('The .gguf files load in llama.cpp, ollama and LM Studio; the bytes of their tensors are those that llama.cpp writes.');
    say();
    const smallest = made.find((one) => one.label === 'q2_k')!;
    say(pc.bold(`The original and ${smallest.label} continue "${PROMPT}":`));
    for (const [label, language] of [
      ['original', reference],
      [smallest.label, smallest.language],
    ] as const) {
      const { text } = await generate(language, tokenizer, PROMPT, { tokens: 48, temperature: 0.8, topP: 0.95, seed: 7, signal });
      say(`${pc.bold(`${label}:`)} ${PROMPT}${text.replaceAll('\n', ' ')}`);
    }
    say();
    say(nextSteps(flags.output));
    progress.say(`the tour took ${secondsText((performance.now() - started) / 1000)}`);
  } finally {
    progress.clear();
    for (const one of opened.reverse()) await one.close();
  }
}

interface Made {
  label: string;
  output: string;
  model: Model;
  language: LanguageModel;
  container: string;
  bytes: number;
  seconds: number;
  sqnr: number;
}

function nextSteps(folder: string | undefined): string {
  return [
    pc.bold('Next, with a model of your own (a Hugging Face folder, a .gguf or .safetensors file, or a URL):'),
    '  npx fewbits plan MODEL --type q4_k_m                      what would be written; nothing is',
    '  npx fewbits quantize MODEL -o model.gguf --type q4_k_m    for llama.cpp',
    '  npx fewbits compare MODEL model.gguf --text your.txt      what it costs on your text',
    '  npx fewbits generate model.gguf --prompt "Once upon"      talk to it',
    folder === undefined
      ? '  npx fewbits tour -o tour                                  this tour, keeping its files'
      : `The files are in ${folder}.`,
  ].join('\n');
}
