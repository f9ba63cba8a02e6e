/** node .build/interop/main.js COMMAND ...: the real llama.cpp from the command line, and `check`, which CI runs. */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { generateWithClient } from './client.ts';
import { divergence } from './divergence.ts';
import { openLibrary } from './library.ts';
import { LlamaModel } from './llama.ts';
import { runProgram } from './program.ts';
import { quantizeFile } from './quantizer.ts';

const usage = `node .build/interop/main.js COMMAND ...
  check [--only TYPE...] [--keep FOLDER]                       fewbits against llama.cpp; exit 1 on a difference
  ppl MODEL.gguf TEXT [--context 512] [--exact]                perplexity of a text file, as llama-perplexity
  kl REFERENCE.gguf MODEL.gguf... TEXT [--context 512] [--exact]
                                                               KL divergence over strided windows, as fewbits compare
  generate MODEL.gguf PROMPT [--tokens 40] [--exact]           greedy continuation
  tokenize MODEL.gguf TEXT                                     token ids of a text file
  logits MODEL.gguf PROMPT [--tokens 40] [--exact]             likeliest next token and its logit, for the first tokens
  quantize IN.gguf OUT.gguf TYPE [--pure] [--imatrix FILE] [--requantize]
  client MODEL.gguf PROMPT [--tokens 40]                       greedy continuation by node-llama-cpp
  version
Common: --threads 2. --exact: F32 KV cache, no flash attention. Everything prints JSON, except check.`;

runProgram(async () => {
  const { values: options, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      context: { type: 'string', default: '512' },
      tokens: { type: 'string', default: '40' },
      threads: { type: 'string', default: '2' },
      exact: { type: 'boolean', default: false },
      pure: { type: 'boolean', default: false },
      requantize: { type: 'boolean', default: false },
      imatrix: { type: 'string' },
      only: { type: 'string', multiple: true },
      keep: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const [command = 'help', ...rest] = positionals;
  const tokens = Number(options.tokens);
  const threads = Number(options.threads);
  const context = { threads, exact: options.exact };

  const argument = (index: number, name: string): string => {
    const value = rest[index];
    if (value === undefined) throw new Error(`${command} needs ${name}\n${usage}`);
    return value;
  };
  const textFile = (): string => readFileSync(argument(1, 'a text file'), 'utf8');
  const withModel = <T>(use: (model: LlamaModel) => T): T => {
    const model = new LlamaModel(argument(0, 'a model'));
    try {
      return use(model);
    } finally {
      model.close();
    }
  };

  const commands: Record<string, (() => unknown) | undefined> = {
    // Loaded on demand: it brings in the project's own code, which the other commands do without.
    check: async () => (await import('./check.ts')).check({ threads, only: options.only, keep: options.keep }),
    ppl: () => withModel((model) => model.perplexity(textFile(), Number(options.context), context)),
    kl: () => {
      argument(2, 'a reference, models and a text file');
      const text = readFileSync(rest.at(-1)!, 'utf8');
      const files = rest.slice(0, -1);
      const opened = files.map((file) => new LlamaModel(file));
      try {
        const [reference, ...models] = opened;
        const { models: found, ...shared } = divergence(reference!, models, text, Number(options.context), context);
        return { ...shared, models: found.map((one, i) => ({ model: files[i + 1], ...one })) };
      } finally {
        for (const model of opened) model.close();
      }
    },
    generate: () =>
      withModel((model) => {
        const { prompt, ...made } = model.generate(argument(1, 'a prompt'), tokens, context);
        return { prompt: [...prompt], ...made };
      }),
    tokenize: () => withModel((model) => [...model.tokenize(textFile())]),
    logits: () => withModel((model) => likeliest(model, model.tokenize(argument(1, 'a prompt')).subarray(0, tokens), context)),
    quantize: () => {
      const [input, output, type] = [argument(0, 'an input'), argument(1, 'an output'), argument(2, 'a file type')];
      const { pure, requantize, imatrix } = options;
      const seconds = quantizeFile(input, output, type, { threads, pure, requantize, ...(imatrix ? { imatrix } : {}) });
      return { output, type, threads, seconds };
    },
    client: async () => ({ text: await generateWithClient(argument(0, 'a model'), argument(1, 'a prompt'), tokens) }),
    version: () => ({ version: openLibrary().version }),
  };

  const run = commands[command];
  if (!run || options.help) {
    console.log(usage);
    return run ? 0 : 2;
  }
  const result = await run();
  if (command === 'check') return result as number;
  console.log(JSON.stringify(result));
  return 0;
});

function likeliest(model: LlamaModel, ids: Int32Array, context: { threads: number; exact: boolean }): object[] {
  const logits = model.logits(ids, context);
  return Array.from(ids, (token, i) => {
    const row = logits.subarray(i * model.vocabSize, (i + 1) * model.vocabSize);
    const logit = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    return { token, next: row.indexOf(logit), logit };
  });
}
