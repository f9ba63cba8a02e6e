import { Command } from 'commander';
import { generate } from '../evaluate/index.ts';
import { languageModel } from '../run/index.ts';
import { sayBackend } from './evaluate.ts';
import { openModel } from './models.ts';
import { cacheOf, integer, number, threadsOf, withCache, withCommon } from './options.ts';
import { bytesText, type Common, interruptSignal, ProgressLine, printResult } from './terminal.ts';

interface GenerateFlags extends Common {
  prompt: string;
  tokens: number;
  temperature?: number;
  topP?: number;
  seed?: number;
  kvBits?: string;
}

export function generateCommand(): Command {
  return withCache(withCommon(new Command('generate')))
    .description('continues a prompt; greedy unless a temperature is given')
    .argument('<model>')
    .requiredOption('--prompt <text>', 'what to continue')
    .option('--tokens <n>', 'at most this many', integer(1), 64)
    .option('--temperature <t>', '0 is greedy', number(0, 100))
    .option('--top-p <p>', 'sample among the likeliest tokens of this total probability', number(0, 1))
    .option('--seed <n>', 'of the random choice', integer(0))
    .action(async (name: string, flags: GenerateFlags) => {
      const model = await openModel(name);
      const progress = new ProgressLine(flags);
      try {
        const language = await languageModel(model, { threads: threadsOf(flags) });
        sayBackend(language, progress);
        try {
          const stream = !flags.json;
          const { tokens, temperature, topP, seed } = flags;
          const tokenizer = await model.tokenizer();
          if (stream) process.stdout.write(flags.prompt);
          const result = await generate(language, tokenizer, flags.prompt, {
            tokens,
            ...cacheOf(flags, language.spec),
            ...(temperature !== undefined && { temperature }),
            ...(topP !== undefined && { topP }),
            ...(seed !== undefined && { seed }),
            signal: interruptSignal(),
            onToken: ({ text }) => {
              if (stream) process.stdout.write(text);
            },
          });
          printResult(flags, { ...result, warnings: model.warnings }, () => '');
          const { cacheBytes = 0, cacheBytesF16 = 0 } = result;
          const cache = `KV cache ${bytesText(cacheBytes)}${flags.kvBits ? ` (f16: ${bytesText(cacheBytesF16)})` : ''}`;
          progress.say(`${result.tokens} tokens, ${result.tokensPerSecond.toFixed(1)} a second, ${cache}`);
        } finally {
          await language.close();
        }
      } finally {
        await model.close();
      }
    });
}
