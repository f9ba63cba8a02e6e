import { Command, InvalidArgumentError } from 'commander';
import { RecipeError } from '../errors.ts';
import { type StatisticKind, statisticKinds } from '../quantize/statistics.ts';
import {
  type Coverage,
  calibrationWindows,
  chatTemplateOf,
  convertStatistics,
  isStatistics,
  kindsOfFile,
  type LayerRange,
  openStatistics,
  runnableSpec,
} from '../run/index.ts';
import { calibrationTextFrom, defaultContext, openModel, placeOf } from './models.ts';
import { integer, layerRange, withCommon } from './options.ts';
import { writeStatistics } from './statistics.ts';
import { type Common, interruption, interruptSignal, ProgressLine, printResult, secondsText, table } from './terminal.ts';

interface CalibrateFlags extends Common {
  output: string;
  text?: string;
  samples?: number;
  context?: number;
  seed?: number;
  chatTemplate?: boolean;
  layers?: LayerRange;
  kinds?: StatisticKind[];
  force?: boolean;
}

/** What is measured where nothing else is asked for: samples of the inputs themselves are for experiments. */
const usualKinds = statisticKinds.filter((kind) => kind !== 'samples');

export function calibrateCommand(): Command {
  return withCommon(new Command('calibrate'))
    .description('statistics of what the linear layers of a model read; or one statistics file into another')
    .argument('<model>', 'a model, or a statistics file to convert')
    .requiredOption(
      '-o, --output <stats>',
      "the file to write: .safetensors (ours), .gguf or .dat (llama.cpp's importance matrix)",
    )
    .option('--text <file>', 'the calibration text (default: the built-in one)')
    .option('--samples <n>', 'windows of text (128, or as many as the text has)', integer(1))
    .option('--context <n>', "tokens in a window (256 for the default model, else 2048 or the model's limit)", integer(1))
    .option('--seed <n>', 'windows begin at random places (default: one after another)', integer(0))
    .option('--chat-template', "the text is JSON lines or paragraphs, rendered by the model's chat template")
    .option('--layers <from-to>', 'these layers only, without the head', (text: string) => {
      const [from, to] = layerRange(text);
      return { from, to };
    })
    .option('--kinds <list>', `of ${statisticKinds.join(', ')} (default: all that the file holds but samples)`, kindList)
    .option('--force', 'replace an output that exists')
    .action((name: string, flags: CalibrateFlags) => calibrate(name, flags));
}

async function calibrate(name: string, flags: CalibrateFlags): Promise<void> {
  kindsOfFile(flags.output);
  if (name !== 'default' && (await isStatistics(name))) return convert(name, flags);
  const { text, dataset } = calibrationTextFrom(flags.text);
  const model = await openModel(name);
  const progress = new ProgressLine(flags);
  interruption.says = 'interrupted; nothing was written, and the same command starts over';
  const started = performance.now();
  try {
    const spec = runnableSpec(model);
    const windows = calibrationWindows(spec, await model.tokenizer(), text, {
      context: flags.context ?? defaultContext(name, model),
      ...(flags.samples !== undefined && { samples: flags.samples }),
      ...(flags.seed !== undefined && { seed: flags.seed }),
      ...(flags.chatTemplate && { chatTemplate: await chatTemplateOf(model) }),
    });
    const kinds = wantedKinds(flags);
    const found = await writeStatistics(model, windows, {
      output: flags.output,
      kinds,
      ...(flags.layers && { layers: flags.layers }),
      dataset,
      force: flags.force ?? false,
      signal: interruptSignal(),
      onProgress: ({ layer, layers, done, total }) =>
        progress.update(`${layer === layers ? 'head' : `layer ${layer + 1} of ${layers}`}: ${done} of ${total} windows`),
    });
    progress.clear();
    report(flags, { ...found, warnings: [...model.warnings, ...found.warnings] }, kinds, (performance.now() - started) / 1000);
  } finally {
    progress.clear();
    await model.close();
  }
}

function report(flags: CalibrateFlags, found: Coverage, kinds: readonly StatisticKind[], seconds: number): void {
  const { tokens, samples, context, vocabulary, inputs, warnings } = found;
  const tensors = inputs.reduce((sum, { linears }) => sum + linears.length, 0);
  const document = { output: flags.output, tokens, tensors, samples, context, kinds, vocabulary, inputs, seconds, warnings };
  printResult(flags, document, () =>
    [
      `${flags.output}: ${kinds.join(', ')} of ${tensors} linears from ${tokens} tokens (${samples} windows of ${context}), ${secondsText(seconds)}`,
      `${((100 * vocabulary.seen) / vocabulary.size).toFixed(1)} % of the vocabulary seen (${vocabulary.seen} of ${vocabulary.size} tokens)`,
      ...warnings.map((warning) => `warning: ${warning}`),
      '',
      table(
        ['input of', 'width', 'tokens', 'always zero'],
        inputs.map(({ linears, width, tokens, dead }) => [named(linears), width, tokens, dead]),
        [1, 2, 3],
      ),
    ].join('\n'),
  );
}

/** 'model.layers.0.self_attn.q_proj, k_proj, v_proj' */
function named([first, ...others]: readonly string[]): string {
  return [first, ...others.map((linear) => linear.slice(linear.lastIndexOf('.') + 1))].join(', ');
}

async function convert(name: string, flags: CalibrateFlags): Promise<void> {
  for (const option of ['text', 'samples', 'context', 'seed', 'chatTemplate', 'layers'] as const)
    if (flags[option] !== undefined)
      throw new RecipeError({
        what: 'a statistics file is converted as it is: this option belongs to measuring',
        where: `--${option.replace(/[A-Z]/, (letter) => `-${letter.toLowerCase()}`)}`,
        next: 'give a model instead of statistics, or leave the option out',
      });
  const reader = await openStatistics(name);
  try {
    const { store, name: output } = placeOf(flags.output);
    const options = { kinds: wantedKinds(flags, statisticKinds), force: flags.force ?? false };
    const { heads, dropped } = await convertStatistics(reader, store, output, options);
    const tensors = heads.reduce((sum, { linears }) => sum + linears.length, 0);
    const known = heads.map(({ tokens }) => tokens).filter((tokens) => !Number.isNaN(tokens));
    const tokens = known.length > 0 ? Math.max(...known) : undefined;
    const warnings = dropped.length > 0 ? [`the output does not hold ${dropped.join(', ')}`] : [];
    printResult(flags, { output: flags.output, tokens, tensors, warnings }, () =>
      [`${flags.output}: statistics of ${tensors} linears`, ...warnings.map((warning) => `warning: ${warning}`)].join('\n'),
    );
  } finally {
    await reader.close();
  }
}

/** @throws RecipeError for kinds that the output cannot hold */
function wantedKinds({ output, kinds }: CalibrateFlags, usual: readonly StatisticKind[] = usualKinds): StatisticKind[] {
  const possible = kindsOfFile(output);
  const refused = kinds?.find((kind) => !possible.includes(kind));
  if (refused) throw new RecipeError({ what: `${output} cannot hold ${refused}`, where: '--kinds', limit: possible.join(', ') });
  return statisticKinds.filter((kind) => (kinds ?? usual).includes(kind) && possible.includes(kind));
}

function kindList(text: string): StatisticKind[] {
  const kinds = text.split(',').map((kind) => kind.trim());
  const unknown = kinds.find((kind) => !(statisticKinds as readonly string[]).includes(kind));
  if (unknown !== undefined) throw new InvalidArgumentError(`must be a list of ${statisticKinds.join(', ')}; got '${unknown}'.`);
  return kinds as StatisticKind[];
}
