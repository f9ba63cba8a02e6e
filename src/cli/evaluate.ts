import { Command, Option } from 'commander';
import { evaluate, type Perplexity, type Protocol } from '../evaluate/index.ts';
import { languageModel } from '../run/index.ts';
import { defaultContext, evaluationText, openModel } from './models.ts';
import { cacheOf, collect, integer, threadsOf, withCache, withCommon } from './options.ts';
import { type Common, interruptSignal, ProgressLine, printResult, secondsText } from './terminal.ts';

export interface WindowFlags extends Common {
  /** One or several files. */
  text?: string[];
  context?: number;
  protocol: Protocol;
  stride?: number;
  kvBits?: string;
}

/** The options that say how a text is cut and scored. */
export function withWindows(command: Command): Command {
  return withCache(command)
    .option('--text <file>', 'a text to score, repeatable (default: the built-in evaluation text)', collect)
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
      const texts = textsOf(flags);
      const model = await openModel(name);
      const progress = new ProgressLine(flags);
      try {
        const language = await languageModel(model, { threads: threadsOf(flags) });
        sayBackend(language, progress);
        try {
          const tokenizer = await model.tokenizer();
          const results: NamedPerplexity[] = [];
          for (const { name: textName, text } of texts) {
            const result = await evaluate(language, tokenizer, text, {
              ...windowOptions(flags, defaultContext(name, model)),
              ...cacheOf(flags, language.spec),
              signal: interruptSignal(),
              onProgress: ({ done, total }) => progress.update(`scored ${done} of ${total} tokens${inText(texts, textName)}`),
            });
            results.push({ text: textName, ...result });
          }
          progress.clear();
          const { text: _, ...all } = together(results);
          const document = {
            ...all,
            ...(results.length > 1 && { texts: results }),
            backend: language.backend,
            warnings: model.warnings,
          };
          printResult(flags, document, () =>
            [...(results.length > 1 ? results : []), { ...all, text: results.length > 1 ? 'all' : '' }]
              .map(perplexityText)
              .join('\n'),
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

interface NamedPerplexity extends Perplexity {
  text: string;
  seconds: number;
}

/** All texts as one; their tokens are taken as independent. */
function together(results: readonly NamedPerplexity[]): NamedPerplexity {
  const [first] = results;
  if (results.length === 1) return first!;
  const total = (of: (result: NamedPerplexity) => number) => results.reduce((sum, result) => sum + of(result), 0);
  const tokens = total((r) => r.tokens);
  const nll = total((r) => r.nll * r.tokens) / tokens;
  // Variances within the texts and between them.
  const squares = total((r) => r.standardError ** 2 * r.tokens * Math.max(1, r.tokens - 1) + r.tokens * (r.nll - nll) ** 2);
  const standardError = Math.sqrt(squares / (tokens * Math.max(1, tokens - 1)));
  return { text: 'all', perplexity: Math.exp(nll), nll, standardError, tokens, seconds: total((r) => r.seconds) };
}

function perplexityText({ text, perplexity, nll, standardError, tokens, seconds }: NamedPerplexity): string {
  return `${text ? `${text}: ` : ''}perplexity ${perplexity.toFixed(4)} ± ${(perplexity * standardError).toFixed(4)}, nll ${nll.toFixed(6)} nats a token, ${tokens} tokens scored in ${secondsText(seconds)}`;
}

function inText(texts: readonly unknown[], name: string): string {
  return texts.length > 1 ? ` of ${name}` : '';
}

/** The texts of `--text`, by file name. */
export function textsOf({ text: files }: Pick<WindowFlags, 'text'>): { name: string; text: string }[] {
  const all: readonly (string | undefined)[] = files ?? [undefined];
  return all.map((file) => ({ name: file ?? 'the built-in text', text: evaluationText(file) }));
}

/** The fallback is slower: it is said once. */
export function sayBackend(language: { backend: 'native' | 'wasm'; reason?: string }, progress: ProgressLine): void {
  if (language.backend === 'wasm')
    progress.say(`models run in WebAssembly, about 4 times slower than native${language.reason ? `: ${language.reason}` : ''}`);
}
