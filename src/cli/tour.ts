import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Command } from 'commander';
import { compare, generate } from '../evaluate/index.ts';
import { type Model, open } from '../format/index.ts';
import type { LanguageModel } from '../graph/index.ts';
import { plan, type QuantizeOptions, recipeFromOptions, weightType } from '../recipe/index.ts';
import { calibrationWindows, languageModel, openStatistics, run } from '../run/index.ts';
import type { Tokenizer } from '../tokenizer/index.ts';
import { sizeOf } from './compare.ts';
import { sayBackend } from './evaluate.ts';
import { calibrationTextFrom, evaluationText, openModel, placeOf } from './models.ts';
import { threadsOf, withCommon } from './options.ts';
import { writeStatistics } from './statistics.ts';
import { bytesText, type Common, interruptSignal, ProgressLine, pc, secondsText, small, table } from './terminal.ts';

interface Stop {
  type: string;
  method: 'nearest' | 'gptq';
  output: string;
  options: QuantizeOptions;
}

const nearest = (type: string, name: string, options: QuantizeOptions): Stop => ({
  type,
  method: 'nearest',
  output: name,
  options,
});
const gptq = (type: string, name: string, options: QuantizeOptions): Stop => ({
  type,
  method: 'gptq',
  output: name.replace(/(\.gguf)?$/, '-gptq$1'),
  options: { ...options, method: 'gptq' },
});
const both = (...of: Parameters<typeof nearest>): Stop[] => [nearest(...of), gptq(...of)];

/** What the tour makes: the types people choose from in llama.cpp, and integer grids; rounded to nearest and with GPTQ. */
const stops: readonly Stop[] = [
  nearest('q8_0', 'q8_0.gguf', { type: 'q8_0' }),
  nearest('q6_k', 'q6_k.gguf', { type: 'q6_k' }),
  ...['q4_k_m', 'q4_0', 'q3_k_m', 'q2_k'].flatMap((type) => both(type, `${type}.gguf`, { type })),
  ...both('int4 g64', 'int4-g64', { bits: 4, group: 64 }),
  ...both('int3 g64 asym', 'int3-g64-asym', { bits: 3, group: 64, symmetric: false }),
];

/** Bytes of the built-in text that are scored: enough for stable figures, little enough for a minute on two cores. */
const TEXT_BYTES = 40_000;
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
    const tokenizer = await model.tokenizer();
    const statistics = await openStatistics(await calibrated(model, tokenizer, folder, { progress, signal }), model);
    opened.push(statistics);
    const made: Made[] = [];
    for (const [i, stop] of stops.entries()) {
      progress.update(`quantizing to ${stop.type}, ${stop.method} (${i + 1} of ${stops.length})`, true);
      const output = path.join(folder, stop.output);
      const recipe = recipeFromOptions(stop.options, 'model', stop.output, weightType(model));
      const planned = await plan(model, recipe, { output: stop.output, threads, statistics });
      const { store } = placeOf(output);
      const report = await run(planned, store, { threads, signal });
      const quantized = await open(output);
      const language = await languageModel(quantized, { threads });
      opened.push(quantized, language);
      made.push({
        ...stop,
        model: quantized,
        language,
        bytes: report.bytes,
        seconds: report.seconds,
        container: report.container,
      });
    }
    const reference = await languageModel(model, { threads });
    opened.push(reference);
    sayBackend(reference, progress);
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
        ['type', 'rounding', 'container', 'file', 'bits/weight', 'perplexity', 'KL (nats)', 'same top', 'made in'],
        [
          [
            'original',
            '',
            'safetensors',
            bytesText(sizeOf(model).bytes),
            '16.000',
            result.reference.perplexity.toFixed(3),
            '0',
            '100 %',
            '',
          ],
          ...made.map((one, i) => {
            const measured = result.models[i]!;
            return [
              one.type,
              one.method,
              one.container,
              bytesText(one.bytes),
              sizeOf(one.model).bitsPerWeight.toFixed(3),
              measured.perplexity.toFixed(3),
              small(measured.kl.mean),
              `${(100 * measured.sameTop).toFixed(1)} %`,
              secondsText(one.seconds),
            ];
          }),
        ],
        [3, 4, 5, 6, 7, 8],
      ),
    );
    say();
    say('KL is how far the next-token probabilities moved; "same top" how often the likeliest token stayed the same.');
    say(
      'GPTQ looks at what the layers read on some text and lets the weights that are still to come make up for each rounding error:',
    );
    say('the same type and size, read by the same programs, with less KL. See docs/gptq.md.');
    say('The int types keep the embedding, a seventh of this small model, in bf16; the others quantize it too.');
    say(
      'The .gguf files load in llama.cpp, ollama and LM Studio; rounded to nearest, their tensors are those that llama.cpp writes.',
    );
    say();
    const smallest = made.find((one) => one.type === 'q2_k' && one.method === 'gptq')!;
    say(pc.bold(`The original and ${smallest.type} by GPTQ continue "${PROMPT}":`));
    for (const [label, language] of [
      ['original', reference],
      [smallest.type, smallest.language],
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

/** Statistics of what the layers read, collected once for all stops; the file. */
async function calibrated(
  model: Model,
  tokenizer: Tokenizer,
  folder: string,
  { progress, signal }: { progress: ProgressLine; signal: AbortSignal },
): Promise<string> {
  const { text, dataset } = calibrationTextFrom();
  const output = path.join(folder, 'statistics.safetensors');
  await writeStatistics(model, calibrationWindows(model.spec!, tokenizer, text, { context: 256 }), {
    output,
    kinds: ['hessian'],
    dataset,
    force: true,
    signal,
    onProgress: ({ layer, layers }) => progress.update(`calibrating: layer ${layer} of ${layers}`, true),
  });
  return output;
}

interface Made extends Stop {
  model: Model;
  language: LanguageModel;
  container: string;
  bytes: number;
  seconds: number;
}

function nextSteps(folder: string | undefined): string {
  return [
    pc.bold('Next, with a model of your own (a Hugging Face folder, a .gguf or .safetensors file, or a URL):'),
    '  npx fewbits plan MODEL --type q4_k_m                      what would be written; nothing is',
    '  npx fewbits quantize MODEL -o model.gguf --type q4_k_m    for llama.cpp',
    '  npx fewbits quantize MODEL -o model.gguf --type q4_k_m --method gptq',
    '                                                            the same size with less loss; takes longer',
    '  npx fewbits compare MODEL model.gguf --text your.txt      what it costs on your text',
    '  npx fewbits generate model.gguf --prompt "Once upon"      talk to it',
    folder === undefined
      ? '  npx fewbits tour -o tour                                  this tour, keeping its files'
      : `The files are in ${folder}.`,
  ].join('\n');
}
