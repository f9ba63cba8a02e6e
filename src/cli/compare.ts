import { Command } from 'commander';
import { compare } from '../evaluate/index.ts';
import { bitsPerWeight, type Model } from '../format/index.ts';
import { languageModel } from '../run/index.ts';
import { sayBackend, type WindowFlags, windowOptions, withWindows } from './evaluate.ts';
import { defaultContext, evaluationText, openModel } from './models.ts';
import { cacheOf, number, threadsOf, withCommon } from './options.ts';
import { bytesText, CheckFailed, interruptSignal, ProgressLine, printResult, small, table } from './terminal.ts';

export function compareCommand(): Command {
  return withWindows(withCommon(new Command('compare')))
    .description('KL, same top token, perplexity and size of models against a reference')
    .argument('<reference>')
    .argument('<models...>')
    .option('--max-kl <x>', 'fail (exit code 1) when a mean KL is above this', number(0))
    .action(async (referenceName: string, names: string[], flags: WindowFlags & { maxKl?: number }) => {
      const text = evaluationText(flags.text);
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
        const result = await compare(
          reference.language,
          models.map((one) => one.language),
          await reference.model.tokenizer(),
          text,
          {
            ...windowOptions(flags, defaultContext(referenceName, reference.model)),
            ...cacheOf(flags, reference.language.spec),
            signal: interruptSignal(),
            onProgress: ({ done, total }) => progress.update(`scored ${done} of ${total} tokens`),
          },
        );
        progress.clear();
        const document = {
          reference: { model: referenceName, ...sizeOf(reference.model), ...result.reference },
          models: result.models.map((one, i) => ({ model: models[i]!.name, ...sizeOf(models[i]!.model), ...one })),
          seconds: result.seconds,
          warnings: [],
        };
        printResult(flags, document, () =>
          table(
            ['model', 'size', 'bits/weight', 'perplexity', 'ratio', 'KL mean', 'median', 'p99', 'same top'],
            [
              [
                referenceName,
                bytesText(document.reference.bytes),
                document.reference.bitsPerWeight.toFixed(3),
                result.reference.perplexity.toFixed(4),
                '1',
                '',
                '',
                '',
                '',
              ],
              ...document.models.map((m) => [
                m.model,
                bytesText(m.bytes),
                m.bitsPerWeight.toFixed(3),
                m.perplexity.toFixed(4),
                m.perplexityRatio.toFixed(5),
                small(m.kl.mean),
                small(m.kl.median),
                small(m.kl.p99),
                `${(100 * m.sameTop).toFixed(2)} ± ${(100 * m.sameTopError).toFixed(2)} %`,
              ]),
            ],
            [1, 2, 3, 4, 5, 6, 7, 8],
          ),
        );
        const worst = document.models.filter((m) => flags.maxKl !== undefined && !(m.kl.mean <= flags.maxKl));
        if (worst.length)
          throw new CheckFailed(
            `mean KL above the limit of ${flags.maxKl}: ${worst.map((m) => `${m.model} ${small(m.kl.mean)}`).join(', ')}`,
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
