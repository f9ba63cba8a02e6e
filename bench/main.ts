/** npm run bench -- [section...]: figures of speed and memory, as JSON in bench/results and as Markdown tables. */
import { parseArgs } from 'node:util';
import { runProgram } from '../interop/program.ts';

const usage = `npm run bench -- [SECTION...]     (default: kernels evaluate quantize)
  kernels      encoding and decoding, one thread, beside ggml
  evaluate     tokens a second of the default model, native and wasm
  quantize     file to file on a synthetic model of 1.2 billion parameters, beside llama.cpp's quantizer
  solver       GPTQ of one weight: factorization and rounding with feedback
  memory       GPTQ of two layers of that model: the largest memory beside the bound of the plan
  gptq         GPTQ on the default model: files beside llama.cpp's, integer grids, options one by one, calibration
  quality      size, perplexity and KL of every type on the default model, and docs/size-and-loss.svg
  methods      every method at 8, 4, 3 and 2 bits (--model FOLDER, --context 256)
  ranges       errors of weights and outputs, and KL, of every range of integer grids on the default model
  checkpoint   only make that model (--container gguf|huggingface)
Options: --runs 3  --threads 2  --layers 16  --types q4_0,q6_k  --all (every type)  --pure (one type for
         all matrices)  --huggingface (quantize the bf16 folder too)
llama.cpp is measured when interop/ is installed: npm ci --omit=optional --ignore-scripts there.`;

runProgram(async () => {
  const { values: options, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      runs: { type: 'string', default: '3' },
      threads: { type: 'string', default: '2' },
      layers: { type: 'string', default: '16' },
      types: { type: 'string' },
      all: { type: 'boolean', default: false },
      pure: { type: 'boolean', default: false },
      huggingface: { type: 'boolean', default: false },
      container: { type: 'string', default: 'gguf' },
      model: { type: 'string', default: 'default' },
      context: { type: 'string', default: '256' },
      help: { type: 'boolean', default: false },
    },
  });
  const [runs, threads, layers] = [options.runs, options.threads, options.layers].map(count) as [number, number, number];
  const sections: Record<string, (() => Promise<void>) | undefined> = {
    kernels: async () => (await import('./kernels.ts')).benchKernels({ runs }),
    evaluate: async () => (await import('./evaluate.ts')).benchEvaluate({ runs }),
    quantize: async () => {
      const { allTypes, benchQuantize, defaultTypes } = await import('./quantize.ts');
      const types = options.types?.split(',') ?? (options.all ? allTypes : defaultTypes);
      const { huggingface, pure } = options;
      return benchQuantize({ types, layers, threads, runs, huggingface, pure });
    },
    solver: async () => (await import('./solver.ts')).benchSolver({ runs, threads }),
    memory: async () => (await import('./memory.ts')).benchMemory({ layers, threads }),
    gptq: async () => (await import('./gptq.ts')).benchGptq({ threads }),
    quality: async () => (await import('./quality.ts')).benchQuality(),
    methods: async () =>
      (await import('./methods.ts')).benchMethods({ model: options.model, threads, context: Number(options.context) }),
    ranges: async () => (await import('./ranges.ts')).benchRanges(),
    checkpoint: async () => {
      const { makeCheckpoint } = await import('./checkpoint.ts');
      console.log(makeCheckpoint(options.container === 'huggingface' ? 'huggingface' : 'gguf', layers));
    },
  };
  const wanted = positionals.length > 0 ? positionals : ['kernels', 'evaluate', 'quantize'];
  const unknown = wanted.find((name) => !sections[name]);
  if (options.help || unknown !== undefined) {
    console.log(unknown === undefined ? usage : `there is no section ${unknown}\n${usage}`);
    return unknown === undefined ? 0 : 2;
  }
  for (const name of wanted) await sections[name]!();
  return 0;
});

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${text} is no positive whole number`);
  return value;
}
