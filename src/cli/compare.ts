import { Command } from 'commander';
import { compareTexts, letterOf, type ModelComparison, type TextsComparison, textFront } from '../evaluate/index.ts';
import { bitsPerWeight, type Model } from '../format/index.ts';
import { languageModel } from '../run/index.ts';
import { sayBackend, textsOf, type WindowFlags, windowOptions, withWindows } from './evaluate.ts';
import { defaultContext, openModel } from './models.ts';
import { cacheOf, number, threadsOf, withCommon } from './options.ts';
import { type Compared, checkReport, writeReport } from './report.ts';
import { bytesText, CheckFailed, interruptSignal, ProgressLine, printResult, small, table } from './terminal.ts';

interface CompareFlags extends WindowFlags {
  maxKl?: number;
  report?: string;
  force?: boolean;
}

export function compareCommand(): Command {
  return withWindows(withCommon(new Command('compare')))
    .description('KL, same top token, perplexity and size of models against a reference')
    .argument('<reference>')
    .argument('<models...>')
    .option('--max-kl <x>', 'fail (exit code 1) when a mean KL is above this', number(0))
    .option('--report <file>', 'plots of sizes and losses, of errors by layer and of outliers: FILE.html or FILE.svg')
    .option('--force', 'replace a report that exists')
    .action(async (referenceName: string, names: string[], flags: CompareFlags) => {
      const texts = textsOf(flags);
      if (flags.report !== undefined) await checkReport(flags.report, flags.force);
      const progress = new ProgressLine(flags);
      const opened: { close(): Promise<void> }[] = [];
      const openAll = async (name: string) => {
        const model = await openModel(name);
        opened.push(model);
        const language = await languageModel(model, { threads: threadsOf(flags) });
        opened.push(language);
        return { name, model, language };
      };
      try {
        const reference = await openAll(referenceName);
        sayBackend(reference.language, progress);
        const models: Awaited<ReturnType<typeof openAll>>[] = [];
        for (const name of names) models.push(await openAll(name));
        const result = await compareTexts(
          reference.language,
          models.map((one) => one.language),
          await reference.model.tokenizer(),
          texts.map(({ text }) => text),
          {
            ...windowOptions(flags, defaultContext(referenceName, reference.model)),
            ...cacheOf(flags, reference.language.spec),
            signal: interruptSignal(),
            onProgress: ({ done, total }) => progress.update(`scored ${done} of ${total} tokens`),
          },
        );
        const compared = models.map(({ name, model }, i): Compared => ({ name, model, ...sizeOf(model), ...result.models[i]! }));
        if (flags.report !== undefined) {
          progress.update('errors of tensors', true);
          const source = { name: referenceName, model: reference.model, ...result.reference };
          await writeReport(flags.report, source, compared, { texts: texts.map(({ name }) => name), signal: interruptSignal() });
        }
        progress.clear();
        const named = (all: readonly ModelComparison[]) => all.map((one, i) => ({ model: models[i]!.name, ...one }));
        const document = {
          reference: { model: referenceName, ...sizeOf(reference.model), ...result.reference },
          models: compared.map(({ name, model: _, ...one }) => ({ model: name, ...one })),
          ...(texts.length > 1 && {
            texts: result.texts.map((one, i) => ({ text: texts[i]!.name, reference: one.reference, models: named(one.models) })),
          }),
          seconds: result.seconds,
          ...(flags.report !== undefined && { report: flags.report }),
          warnings: [],
        };
        printResult(flags, document, () =>
          [
            comparisonTable(referenceName, sizeOf(reference.model), result.reference.perplexity, compared),
            ...(texts.length > 1 ? ['', textsTable(result, texts, names)] : []),
            ...(compared.length > 1 ? ['', chart(compared)] : []),
            ...(flags.report !== undefined ? ['', `report: ${flags.report}`] : []),
          ].join('\n'),
        );
        const worst = compared.filter((m) => flags.maxKl !== undefined && !(m.kl.mean <= flags.maxKl));
        if (worst.length)
          throw new CheckFailed(
            `mean KL above the limit of ${flags.maxKl}: ${worst.map((m) => `${m.name} ${small(m.kl.mean)}`).join(', ')}`,
          );
      } finally {
        progress.clear();
        for (const one of opened.reverse()) await one.close();
      }
    });
}

/** bytes: of the tensors' data. */
export function sizeOf(model: Model): { bytes: number; bitsPerWeight: number } {
  return { bytes: model.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0), bitsPerWeight: bitsPerWeight(model) };
}

function comparisonTable(
  name: string,
  size: ReturnType<typeof sizeOf>,
  perplexity: number,
  models: readonly (Compared & ReturnType<typeof sizeOf>)[],
): string {
  const sizes = (one: ReturnType<typeof sizeOf>) => [bytesText(one.bytes), one.bitsPerWeight.toFixed(3)];
  return table(
    ['model', 'size', 'bits/weight', 'perplexity', 'ratio', 'KL mean', 'median', 'p99', 'same top'],
    [
      [name, ...sizes(size), perplexity.toFixed(4), '1', '', '', '', ''],
      ...models.map((m) => [
        m.name,
        ...sizes(m),
        m.perplexity.toFixed(4),
        m.perplexityRatio.toFixed(5),
        small(m.kl.mean),
        small(m.kl.median),
        small(m.kl.p99),
        `${(100 * m.sameTop).toFixed(2)} ± ${(100 * m.sameTopError).toFixed(2)} %`,
      ]),
    ],
    [1, 2, 3, 4, 5, 6, 7, 8],
  );
}

/** KL by kind of text. */
function textsTable({ texts }: TextsComparison, names: readonly { name: string }[], models: readonly string[]): string {
  return table(
    ['text', 'model', 'perplexity', 'ratio', 'KL mean', 'p99', 'same top'],
    texts.flatMap((one, t) =>
      one.models.map((m, i) => [
        names[t]!.name,
        models[i]!,
        m.perplexity.toFixed(4),
        m.perplexityRatio.toFixed(5),
        small(m.kl.mean),
        small(m.kl.p99),
        `${(100 * m.sameTop).toFixed(2)} %`,
      ]),
    ),
    [2, 3, 4, 5, 6],
  );
}

function chart(models: readonly Compared[]): string {
  const points = models.map((m) => ({ x: m.bitsPerWeight, y: m.kl.mean }));
  return [textFront(points), ...models.map(({ name }, i) => `  ${letterOf(i)} ${name}`)].join('\n');
}
