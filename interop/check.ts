/**
 * fewbits against the real llama.cpp. For each model: the same token ids; the same perplexity on the same text; the same greedy
 * text; and for each file type the same bytes as llama.cpp's own quantizer makes of our f16 file.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { openCheckpoint } from 'fewbits/checkpoint';
import { tokenizerFromGguf } from 'fewbits/tokenizer';
import { checkGptq } from './check-gptq.ts';
import { fewbits, runJson } from './cli.ts';
import { firstDifference } from './gguf.ts';
import { openLibrary } from './library.ts';
import { LlamaModel } from './llama.ts';
import { fewbitsCli, interopMain, root } from './project.ts';
import { quantizeFile, sameEncoding } from './quantizer.ts';
import { expect, Report, table } from './report.ts';

export interface CheckOptions {
  threads: number;
  /** File types to check; all when left out. */
  only?: string[] | undefined;
  /** Keep the files that were made in this folder. */
  keep?: string | undefined;
}

interface Subject {
  name: string;
  /** MODEL as the command line takes it. */
  model: string;
  types: string[];
  /** Types to check with `imatrix` too. */
  weighted: string[];
  /** An importance matrix of this model, made by llama-imatrix. */
  imatrix: string;
  /** What llama.cpp's own converter made of the same checkpoint. */
  converted?: string;
}

const golden = (...names: string[]): string => path.join(root, 'test', 'golden', ...names);

/** Small floats and trits. */
const recent = ['mxfp4', 'tq2_0'];
/** Checked where `--only` names them: their kernels' siblings are among the others. */
const further = ['nvfp4', 'mxfp4_moe', 'tq1_0', 'q1_0', 'q2_0'];

const subjects: Subject[] = [
  {
    name: 'default',
    model: 'default',
    types: ['f32', 'f16', 'q8_0', 'q4_0', 'q4_k_m', 'q6_k', 'q2_k', 'q3_k_m', 'q5_k_m', 'iq4_nl', 'iq4_xs', ...recent],
    weighted: ['q4_0', 'q4_k_m', 'q2_k', 'iq4_nl'],
    imatrix: golden('gguf', 'tinystories-3.7m.imatrix.gguf'),
  },
  {
    name: 'stories260K',
    model: golden('models', 'stories260K'),
    // Rows of 64 and 172: every K-quant falls back here.
    types: ['f32', 'f16', 'q8_0', 'q4_0', 'q4_k_m'],
    weighted: ['q4_k_m'],
    imatrix: golden('gguf', 'stories260K.imatrix.gguf'),
    converted: golden('gguf', 'stories260K-f16.gguf'),
  },
];

const text = { file: path.join(root, 'models', 'text', 'tinystories.valid.txt'), bytes: 60_000, context: 256 };
/** What ordinary text does not hold: spaces at the edges and in rows, other alphabets, emoji, digits, control characters. */
const oddTexts = [
  ' a leading space',
  'a trailing space ',
  'two  spaces,   three spaces',
  'tabs\tand\n\nlines\r\n',
  'Ünïcödé, ελληνικά, русский, 漢字, عربى',
  'emoji 🙂 👩‍👩‍👧 end',
  "it's we'll I'd 12345 3.14 1,000,000",
  'CamelCase snake_case <s> </s> <0x41> ▁',
];
const prompt = 'Once upon a time';
const greedyTokens = 40;

/**
 * Largest relative difference of perplexity. llama.cpp multiplies f16 weights by activations rounded to f16, and quantized weights
 * by activations rounded to 8 bits; ours are f32.
 */
const tolerance = (type: string): number => (type === 'f32' ? 1e-3 : 5e-3);

export async function check(options: CheckOptions): Promise<number> {
  if (!existsSync(fewbitsCli)) throw new Error('dist/ has no command line: run "npm run build"');
  const folder = options.keep ?? mkdtempSync(path.join(tmpdir(), 'fewbits-interop-'));
  mkdirSync(folder, { recursive: true });
  const textFile = path.join(folder, 'text.txt');
  writeFileSync(textFile, firstBytes(readFileSync(text.file), text.bytes));
  const report = new Report();
  console.log(openLibrary().version);
  try {
    for (const subject of subjects) {
      const types = options.only ? [...subject.types, ...further].filter((type) => options.only!.includes(type)) : subject.types;
      await new ModelCheck({ ...subject, types }, folder, textFile, options.threads, report).run();
    }
    await checkGptq({ folder, threads: options.threads, only: options.only }, report);
  } finally {
    if (!options.keep) rmSync(folder, { recursive: true, force: true });
  }
  return report.close();
}

class ModelCheck {
  readonly #rows: string[][] = [];

  constructor(
    readonly subject: Subject,
    readonly folder: string,
    readonly textFile: string,
    readonly threads: number,
    readonly report: Report,
  ) {}

  async run(): Promise<void> {
    const { name, types, weighted, imatrix, converted } = this.subject;
    const check = (what: string, run: () => string | Promise<string>): Promise<boolean> =>
      this.report.check(`${name} ${what}`, run);
    const made = await check('f16 as the source of llama.cpp', () => this.#quantize('f16'));
    if (converted && made) await check('f16 equals the file of convert_hf_to_gguf', () => same(this.#file('f16'), converted));
    for (const type of types) {
      if (!(await check(`${type} file`, () => this.#quantize(type)))) continue;
      await check(`${type} perplexity`, () => this.#perplexity(type));
      if (made && type !== 'f32' && type !== 'f16') await check(`${type} bytes`, () => this.#bytes(type));
      if (made && weighted.includes(type)) await check(`${type} bytes with imatrix`, () => this.#bytes(type, imatrix));
      if (type === 'f32') {
        await check('source against llama.cpp on the f32 file', () => this.#source());
        await check('token ids', () => this.#tokenIds());
        await check('greedy text', () => this.#greedy());
        await check('greedy text in node-llama-cpp', () => this.#client());
      }
    }
    console.log(`\n${table([name, 'bytes', 'fewbits', 'llama.cpp', 'difference'], this.#rows)}\n`);
  }

  #file(type: string): string {
    return path.join(this.folder, `${this.subject.name}-${type}.gguf`);
  }

  async #quantize(type: string): Promise<string> {
    const file = this.#file(type);
    await fewbits(['quantize', this.subject.model, '-o', file, '--type', type, '--threads', `${this.threads}`, '--force']);
    return `${statSync(file).size} bytes`;
  }

  async #perplexity(type: string): Promise<string> {
    const file = this.#file(type);
    const [ours, theirs] = [await this.#ours(file), this.#theirs(file)];
    this.#rows.push([type, `${statSync(file).size}`, ours.toFixed(4), theirs.toFixed(4), percent(ours / theirs - 1)]);
    return close(ours, theirs, tolerance(type));
  }

  /** The checkpoint before conversion: a mistake that our writer and reader of GGUF share shows here. */
  async #source(): Promise<string> {
    return close(await this.#ours(this.subject.model), this.#theirs(this.#file('f32')), tolerance('f32'));
  }

  async #ours(model: string): Promise<number> {
    const protocol = ['--protocol', 'llama.cpp', '--context', `${text.context}`];
    const { perplexity } = await fewbits(['evaluate', model, '--text', this.textFile, ...protocol]);
    return perplexity as number;
  }

  #theirs(file: string): number {
    const content = readFileSync(this.textFile, 'utf8');
    const options = { threads: this.threads, exact: true };
    return withModel(file, (model) => model.perplexity(content, text.context, options)).perplexity;
  }

  /** llama.cpp's quantizer on our f16 file, against ours on the same file: a bf16 source would round differently. */
  async #bytes(type: string, imatrix?: string): Promise<string> {
    const { threads } = this;
    if (type === 'nvfp4') return this.#encoded(type);
    const [source, ours, theirs] = ['f16', `${type}-fewbits`, `${type}-llama.cpp`].map((name) => this.#file(name));
    const stats = imatrix ? ['--stats', imatrix] : [];
    await fewbits(['quantize', source!, '-o', ours!, '--type', type, '--threads', `${threads}`, '--force', ...stats]);
    quantizeFile(source!, theirs!, type, { threads, ...(imatrix ? { imatrix } : {}) });
    return same(ours!, theirs!);
  }

  /** A type that llama.cpp's quantizer makes no files of: ggml's encoder on the values of our f32 file. */
  async #encoded(type: string): Promise<string> {
    const [source, ours] = [this.#file('f32'), this.#file(`${type}-fewbits`)];
    if (!existsSync(source)) await this.#quantize('f32');
    await fewbits(['quantize', source, '-o', ours, '--type', type, '--threads', `${this.threads}`, '--force']);
    return sameEncoding(source, ours);
  }

  /** Our reading of the vocabulary that we wrote, against llama.cpp's reading of it. */
  async #tokenIds(): Promise<string> {
    const file = this.#file('f32');
    const checkpoint = await openCheckpoint(file);
    const tokenizer = tokenizerFromGguf(checkpoint.gguf!);
    await checkpoint.close();
    const lines = [readFileSync(this.textFile, 'utf8'), ...oddTexts];
    return withModel(file, (model) => {
      expect(tokenizer.vocabSize === model.vocabSize, `${tokenizer.vocabSize} against ${model.vocabSize} tokens`);
      let count = 0;
      for (const line of lines) {
        const [ours, theirs] = [tokenizer.encode(line), model.tokenize(line, { special: false, parse: true })];
        const at = ours.findIndex((id, i) => id !== theirs[i]);
        const place = at < 0 ? Math.min(ours.length, theirs.length) : at;
        const around = (ids: Int32Array): string => `[${ids.subarray(place, place + 8).join(' ')}]`;
        expect(
          at < 0 && ours.length === theirs.length,
          `token ${place} of ${JSON.stringify(line.slice(0, 40))}: ${around(ours)} against ${around(theirs)}`,
        );
        count += ours.length;
      }
      return `${count} ids`;
    });
  }

  async #greedy(): Promise<string> {
    const file = this.#file('f32');
    const ours = continuation((await fewbits(['generate', file, '--prompt', prompt, '--tokens', `${greedyTokens}`]))['text']);
    const theirs = withModel(file, (model) => model.generate(prompt, greedyTokens, { threads: this.threads, exact: true }));
    expect(ours === continuation(theirs.text), `${JSON.stringify(ours)} against ${JSON.stringify(continuation(theirs.text))}`);
    return `${theirs.tokens.length} tokens, ${JSON.stringify(ours)}`;
  }

  /** In a process of its own: two users of one llama.cpp library share its log and its threads. */
  async #client(): Promise<string> {
    const args = ['client', this.#file('f32'), prompt, '--tokens', `${greedyTokens}`];
    const client = continuation((await runJson(interopMain, args))['text']);
    const theirs = withModel(this.#file('f32'), (model) => model.generate(prompt, greedyTokens, { threads: this.threads }));
    expect(
      client === continuation(theirs.text),
      `${JSON.stringify(client)} against ${JSON.stringify(continuation(theirs.text))}`,
    );
    return JSON.stringify(client);
  }
}

/** Perplexities that agree within a relative tolerance. */
function close(ours: number, theirs: number, allowed: number): string {
  const difference = ours / theirs - 1;
  const figures = `${ours.toFixed(4)} against ${theirs.toFixed(4)} (${percent(difference)})`;
  expect(Math.abs(difference) <= allowed, `${figures}, allowed ${percent(allowed)}`);
  return figures;
}

function same(a: string, b: string): string {
  const difference = firstDifference(a, b);
  expect(difference === undefined, `${difference}`);
  return 'names, types, shapes and bytes of all tensors';
}

function withModel<T>(file: string, use: (model: LlamaModel) => T): T {
  const model = new LlamaModel(file);
  try {
    return use(model);
  } finally {
    model.close();
  }
}

/** What follows the prompt: some tools return the prompt with it, SentencePiece puts a space before it. */
function continuation(text: unknown): string {
  const whole = String(text).trimStart();
  return (whole.startsWith(prompt) ? whole.slice(prompt.length) : String(text)).trim();
}

/** At most `count` bytes, not ending inside a character. */
function firstBytes(bytes: Uint8Array, count: number): string {
  return new TextDecoder().decode(bytes.subarray(0, count), { stream: true });
}

const percent = (x: number): string => `${(100 * x).toFixed(3)} %`;
