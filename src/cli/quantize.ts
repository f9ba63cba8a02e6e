import { Command, Option } from 'commander';
import { RecipeError } from '../errors.ts';
import { type Comparison, compare, worstTensors } from '../evaluate/index.ts';
import { type Model, open } from '../format/index.ts';
import type { Plan } from '../recipe/index.ts';
import { type CalibrationWindows, languageModel, type Report, type RunOptions, run } from '../run/index.ts';
import { defaultContext, evaluationText, openModel, placeOf, refuseWithoutVocabulary, windowsOf } from './models.ts';
import { number, threadsOf, withCommon, withQuantization } from './options.ts';
import { fitText, type PlanFlags, planFor, releasePlan, roundedScheme } from './plan.ts';
import {
  bytesText,
  CheckFailed,
  interruption,
  interruptSignal,
  ProgressLine,
  printResult,
  secondsText,
  small,
  table,
} from './terminal.ts';
import { groupWarnings } from './warnings.ts';

interface QuantizeFlags extends PlanFlags {
  output: string;
  verify: 'full' | 'none';
  vocabulary: boolean;
  evaluate?: string;
  maxKl?: number;
  force?: boolean;
  restart?: boolean;
  resume?: boolean;
}

export function quantizeCommand(): Command {
  return withQuantization(withCommon(new Command('quantize')))
    .description('plan, run, verify what was written, report')
    .argument('<model>')
    .requiredOption('-o, --output <out>', 'the file or folder to write')
    .addOption(new Option('--verify <how>', 'read back and check what was written').choices(['full', 'none']).default('full'))
    .option('--evaluate <file>', 'perplexity and KL against the source on this text')
    .option('--max-kl <x>', 'fail (exit code 1) when the mean KL is above this; the output stays', number(0))
    .option('--no-vocabulary', 'write GGUF also of a model that has no tokenizer')
    .option('--force', 'replace an output that exists')
    .option('--resume', 'continue an unfinished output (what happens anyway)')
    .option('--restart', 'throw an unfinished output away')
    .action(async (name: string, flags: QuantizeFlags) => {
      const model = await openModel(name);
      try {
        await quantize(name, model, flags);
      } finally {
        await model.close();
      }
    });
}

async function quantize(name: string, model: Model, flags: QuantizeFlags): Promise<void> {
  if (flags.maxKl !== undefined && flags.evaluate === undefined) {
    throw new RecipeError({ what: '--max-kl needs a text to measure on', where: '--max-kl', next: 'add --evaluate FILE' });
  }
  const text = flags.evaluate === undefined ? undefined : evaluationText(flags.evaluate);
  const { planned, fitted } = await planFor(name, model, flags);
  if (fitted) new ProgressLine(flags).say(fitText(fitted, flags.fit!));
  if (flags.printRecipe) {
    process.stdout.write(`${JSON.stringify(planned.recipe, null, 2)}\n`);
    await releasePlan(planned);
    return;
  }
  refuseWithoutVocabulary(planned, flags.vocabulary);
  const windows = await windowsOf(planned, flags);
  const report = await runWithProgress(planned, flags, windows);
  await releasePlan(planned);
  const evaluation = text === undefined ? undefined : await evaluateOutput(name, model, flags, text);
  const document = { ...report, ...(evaluation && { evaluation: evaluation.models[0], reference: evaluation.reference }) };
  printResult(flags, document, () => reportText(report, evaluation));
  const kl = evaluation?.models[0]?.kl.mean;
  if (flags.maxKl !== undefined && kl !== undefined && !(kl <= flags.maxKl)) {
    throw new CheckFailed(`the mean KL is ${small(kl)}, above the limit of ${flags.maxKl}`);
  }
}

export interface RunFlags {
  output: string;
  threads?: number;
  quiet?: boolean;
  verify?: 'full' | 'none';
  force?: boolean;
  restart?: boolean;
}

/** Runs a plan with a progress line on stderr. */
export async function runWithProgress(planned: Plan, flags: RunFlags, windows?: CalibrationWindows): Promise<Report> {
  const progress = new ProgressLine(flags);
  for (const warning of windows?.warnings ?? []) progress.say(`warning: ${warning}`);
  for (const warning of groupWarnings(planned)) progress.say(`warning: ${warning}`);
  const options: RunOptions = {
    threads: threadsOf(flags),
    verify: flags.verify ?? 'full',
    force: flags.force ?? false,
    restart: flags.restart ?? false,
    signal: interruptSignal(),
    ...(windows && { calibration: windows }),
    onProgress: (at) =>
      progress.update(
        [
          `[${at.tensors}/${at.tensorCount}] ${at.name} `,
          at.bytesPerSecond === undefined ? '' : ` ${bytesText(at.bytesPerSecond)}/s of f32,`,
          at.secondsLeft === undefined ? '' : ` ${secondsText(at.secondsLeft)} left,`,
          ` ${bytesText(process.resourceUsage().maxRSS * 1024)} peak memory`,
        ].join(''),
      ),
  };
  interruption.says = 'interrupted; the same command continues where it stopped';
  try {
    const report = await run(planned, placeOf(flags.output).store, options);
    return { ...report, output: flags.output };
  } finally {
    interruption.says = 'interrupted';
    progress.clear();
  }
}

async function evaluateOutput(name: string, model: Model, flags: QuantizeFlags, text: string): Promise<Comparison> {
  const written = await open(flags.output);
  const threads = threadsOf(flags);
  const [reference, quantized] = await Promise.all([languageModel(model, { threads }), languageModel(written, { threads })]);
  try {
    const context = flags.context ?? defaultContext(name, model);
    return await compare(reference, [quantized], await model.tokenizer(), text, { context, signal: interruptSignal() });
  } finally {
    await Promise.all([reference.close(), quantized.close(), written.close()]);
  }
}

function reportText(report: Report, evaluation?: Comparison): string {
  const measurable = report.tensors.flatMap((t) =>
    t.sqnr !== undefined && Number.isFinite(t.sqnr) ? [{ ...t, sqnr: t.sqnr }] : [],
  );
  const worst = worstTensors(measurable, 5);
  const measured = evaluation?.models[0];
  return [
    `${report.output}: ${bytesText(report.bytes)} (${report.bytes} bytes), ${report.bitsPerWeight.toFixed(3)} bits per weight, ${secondsText(report.seconds)}, ${bytesText(report.peakMemory)} peak memory`,
    report.verified
      ? `verified: ${report.tensors.length} tensors read back, finite and where they belong`
      : 'not verified (--verify none)',
    ...(report.resumed > 0 ? [`${report.resumed} tiles were taken over from an interrupted run`] : []),
    ...solveText(report),
    ...(measured
      ? [
          `perplexity ${measured.perplexity.toFixed(4)} (source ${evaluation!.reference.perplexity.toFixed(4)}), KL ${small(measured.kl.mean)}, same top token ${(100 * measured.sameTop).toFixed(2)} %`,
        ]
      : []),
    ...(worst.length
      ? [
          '',
          'tensors that lost most:',
          table(
            ['tensor', 'scheme', 'SQNR dB', 'cosine', 'max error'],
            worst.map((t) => [t.name, roundedScheme(t), t.sqnr.toFixed(2), t.cosine?.toFixed(6) ?? '', small(t.maxError ?? 0)]),
            [2, 3, 4],
          ),
          ...(report.tensors.some(({ feedback }) => feedback)
            ? [
                'These are errors of weights. GPTQ makes the error of the outputs of layers small instead, so that weights may look worse than rounded to nearest: fewbits compare tells.',
              ]
            : []),
        ]
      : []),
  ].join('\n');
}

/** How the Hessians were solved, where it is not as asked for. */
function solveText({ solves = [], warnings }: Report): string[] {
  const raised = solves.filter(({ retries, fallback }) => retries > 0 && fallback === undefined);
  const names = (all: typeof solves) => all.map(({ linears }) => linears[0]).join(', ');
  return [
    ...(raised.length
      ? [`the damp was raised for ${raised.length} inputs (${names(raised)}): their Hessians were not positive definite`]
      : []),
    ...warnings.filter((warning) => /rounded to nearest|rank-deficient/.test(warning)).map((warning) => `warning: ${warning}`),
  ];
}
