/**
 * GGUF files rounded with error feedback against llama.cpp's own quantizer with an importance matrix: the same tensors in the same
 * types, so the same size; loaded by llama.cpp, which measures how far both are from the f32 file.
 */
import path from 'node:path';
import { fewbits, runJson } from './cli.ts';
import { type GgufTensor, readGguf } from './gguf.ts';
import { type Headline, headlines } from './headline.ts';
import { interopMain, root } from './project.ts';
import { quantizeFile } from './quantizer.ts';
import { expect, type Report } from './report.ts';

const text = path.join(root, 'models', 'text', 'tinystories.valid.txt');
const imatrix = path.join(root, 'test', 'golden', 'gguf', 'tinystories-3.7m.imatrix.gguf');

export interface GptqCheckOptions {
  folder: string;
  threads: number;
  only?: readonly string[] | undefined;
}

export async function checkGptq({ folder, threads, only }: GptqCheckOptions, report: Report): Promise<void> {
  // The benchmark measures all of them; here those that have a limit of their own are enough.
  const types = headlines.filter(({ type, limit }) => (only ? only.includes(type) : limit !== undefined));
  if (types.length === 0) return;
  const at = (name: string): string => path.join(folder, `gptq-${name}`);
  const quantize = (type: string, output: string, ...more: string[]) =>
    fewbits(['quantize', 'default', '-o', output, '--type', type, '--threads', `${threads}`, '--force', ...more]);
  const [f32, f16, statistics] = [at('f32.gguf'), at('f16.gguf'), at('statistics.safetensors')];
  const ours = ({ type }: Headline): string => at(`${type}-fewbits.gguf`);
  const theirs = ({ type }: Headline): string => at(`${type}-llama.cpp.gguf`);
  const ready = await report.check('gptq f32 and f16 files, statistics', async () => {
    for (const [type, file] of [
      ['f32', f32],
      ['f16', f16],
    ] as const)
      await quantize(type, file);
    const { tokens } = await fewbits(['calibrate', 'default', '-o', statistics, '--kinds', 'hessian,meansquare', '--force']);
    return `${tokens} tokens`;
  });
  if (!ready) return;
  for (const headline of types)
    await report.check(`gptq ${headline.type} size and tensor types`, async () => {
      await quantize(headline.type, ours(headline), '--method', 'gptq', '--stats', statistics);
      quantizeFile(f16, theirs(headline), headline.type, { threads, imatrix });
      return sameTensors(ours(headline), theirs(headline));
    });
  let found: ReadonlyMap<string, number>;
  const measured = await report.check('gptq KL in llama.cpp', async () => {
    // A limit that is known needs no measurement of llama.cpp's file.
    found = await klOf(f32, [...types.map(ours), ...types.filter(({ limit }) => limit === undefined).map(theirs)], text);
    return `${found.size} files`;
  });
  if (!measured) return;
  for (const headline of types)
    await report.check(`gptq ${headline.type} KL`, () => {
      const kl = found.get(ours(headline))!;
      const limit = headline.limit ?? found.get(theirs(headline))!;
      expect(kl < limit, `${kl} against a limit of ${limit}`);
      return `${kl.toFixed(6)}, limit ${limit.toFixed(6)}${headline.limit === undefined ? " (llama.cpp's file)" : ''}`;
    });
}

/**
 * KL of files against a reference, by llama.cpp, windows of 256 tokens: two processes of one thread each, because llama.cpp's
 * threads wait for each other in loops and take a busy machine's time.
 */
export async function klOf(reference: string, files: readonly string[], textFile: string): Promise<ReadonlyMap<string, number>> {
  const halves = [0, 1].map((half) => files.filter((_, i) => i % 2 === half)).filter(({ length }) => length > 0);
  const options = ['--context', '256', '--exact', '--threads', '1'];
  const found = await Promise.all(halves.map((some) => runJson(interopMain, ['kl', reference, ...some, textFile, ...options])));
  const models = found.flatMap((one) => one['models'] as { model: string; kl: number }[]);
  return new Map(models.map(({ model, kl }) => [model, kl]));
}

/** Names, types, shapes and sizes of all tensors. */
function sameTensors(a: string, b: string): string {
  const [left, right] = [a, b].map((file) => readGguf(file).tensors.map(described)) as [string[], string[]];
  const at = left.findIndex((line, i) => line !== right[i]);
  expect(left.length === right.length && at < 0, `${left.length} against ${right.length} tensors: ${left[at]}, ${right[at]}`);
  return `${left.length} tensors`;
}

function described({ name, type, dimensions, bytes }: GgufTensor): string {
  return `${name} type ${type} [${dimensions.join(', ')}] ${bytes} bytes`;
}
