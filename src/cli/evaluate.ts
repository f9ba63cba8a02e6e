import { Command, Option } from 'commander';
import { evaluate, type Protocol } from '../evaluate/index.ts';
import { languageModel } from '../run/index.ts';
import { defaultContext, evaluationText, openModel } from './models.ts';
import { cacheOf, integer, threadsOf, withCache, withCommon } from './options.ts';
import { type Common, interruptSignal, ProgressLine, printResult, secondsText } from './terminal.ts';

export interface WindowFlags extends Common {
  text?: string;
  context?: number;
  protocol: Protocol;
  stride?: number;
  kvBits?: string;
}

/** The options that say how a text is cut and scored. */
export function withWindows(command: Command): Command {
  return withCache(command)
    .option('--text <file>', 'the text to score (default: the built-in evaluation text)')
    .option('--context <n>', "tokens in a window (256 for the default model, else 2048 or the model's limit)", integer(2))
    .addOption(
      new Option('--protocol <name>', 'how windows are cut and scored').choices(['llama.cpp', 'strided']).default('llama.cpp'),
    )
    .option('--stride <s>', 'strided: tokens from one window to the next (default: the context)', integer(1));
}

export function windowOptions(flags: WindowFlags, context: number): { protocol: Protocol; context: number; stride?: number } {
  return {
    protocol: flags.protocol,
    context: flags.context ?? context,
    ...(flags.stride !== undefined && { stride: flags.stride }),
  };
}

export function evaluateCommand(): Command {
  return withWindows(withCommon(new Command('evaluate')))
    .description('perplexity of a model on a text')
    .argument('<model>')
    .action(async (name: string, flags: WindowFlags) => {
      const text = evaluationText(flags.text);
      const model = await openModel(name);
      const progress = new ProgressLine(flags);
      try {
        const language = await languageModel(model, { threads: threadsOf(flags) });
        sayBackend(language, progress);
        try {
          const result = await evaluate(language, await model.tokenizer(), text, {
            ...windowOptions(flags, defaultContext(name, model)),
            ...cacheOf(flags, language.spec),
            signal: interruptSignal(),
            onProgress: ({ done, total }) => progress.update(`scored ${done} of ${total} tokens`),
          });
          progress.clear();
          printResult(
            flags,
            { ...result, backend: language.backend, warnings: model.warnings },
            () =>
              `perplexity ${result.perplexity.toFixed(4)} ± ${(result.perplexity * result.standardError).toFixed(4)}, nll ${result.nll.toFixed(6)} nats a token, ${result.tokens} tokens scored in ${secondsText(result.seconds)}`,
          );
        } finally {
          await language.close();
        }
      } finally {
        progress.clear();
        await model.close();
      }
    });
}

/** The fallback is slower: it is said once. */
export function sayBackend(language: { backend: 'native' | 'wasm'; reason?: string }, progress: ProgressLine): void {
  if (language.backend === 'wasm')
    progress.say(`models run in WebAssembly, about 4 times slower than native${language.reason ? `: ${language.reason}` : ''}`);
}
