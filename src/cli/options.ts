/** Options that several commands have, and their parsing. */

import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { FileError, RecipeError } from '../errors.ts';
import { kvPreset, kvPresets, type ObserverName, observers } from '../quantize/index.ts';
import type { KvScheme } from '../quantized/types.ts';
import { type Budget, methods, type QuantizeOptions, rangeNames } from '../recipe/index.ts';
import type { Common } from './terminal.ts';

export function integer(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^-?\d+$/.test(text) || value < least || value > most) {
      throw new InvalidArgumentError(
        `must be a whole number of at least ${least}${most < Number.MAX_SAFE_INTEGER ? ` and at most ${most}` : ''}.`,
      );
    }
    return value;
  };
}

export function number(least: number, most = Number.POSITIVE_INFINITY): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || Number.isNaN(value) || value < least || value > most) {
      throw new InvalidArgumentError(
        `must be a number of at least ${least}${Number.isFinite(most) ? ` and at most ${most}` : ''}.`,
      );
    }
    return value;
  };
}

/** '7e9', '7B', '350M', '6738415616': a whole number. */
export function count(text: string): number {
  const match = /^(\d+(?:\.\d+)?(?:e\d+)?)\s*([kmbt]?)$/i.exec(text.trim());
  const scale = { '': 1, K: 1e3, M: 1e6, B: 1e9, T: 1e12 }[match?.[2]?.toUpperCase() ?? '?'];
  const product = match && scale ? Number(match[1]) * scale : 0;
  // The product of doubles may be next to the whole number that was meant.
  const value = Math.round(product);
  if (!Number.isSafeInteger(value) || value < 1 || Math.abs(value - product) > 1e-3)
    throw new InvalidArgumentError('must be a number such as 7e9, 7B or 350M.');
  return value;
}

const units: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** '3MB', '1.5GiB', '4000': MB = 10^6, MiB = 2^20 bytes. */
export function size(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim());
  const unit = units[match?.[2]?.toUpperCase() ?? '?'];
  if (!match || unit === undefined || Number(match[1]) === 0)
    throw new InvalidArgumentError('must be a size such as 3MB or 1.5GiB.');
  return Math.floor(Number(match[1]) * unit);
}

/** '3MB', '1.5GiB': bytes of the whole output; '4.5bpw': bits per weight. */
export function budget(text: string): Budget {
  const bits = /^(\d+(?:\.\d+)?)\s*bpw$/i.exec(text.trim());
  if (!bits) return { bytes: size(text) };
  if (!(Number(bits[1]) > 0)) throw new InvalidArgumentError('must be a size such as 3MB, or bits per weight such as 4.5bpw.');
  return { bitsPerWeight: Number(bits[1]) };
}

/** '0-3', or '2' for one layer. */
export function layerRange(text: string): [from: number, to: number] {
  const match = /^(\d+)(?:-(\d+))?$/.exec(text.trim());
  const from = Number(match?.[1]);
  const to = Number(match?.[2] ?? match?.[1]);
  if (!match) throw new InvalidArgumentError('must be a layer or FROM-TO, such as 0-3.');
  if (to < from) throw new InvalidArgumentError('must not end before it begins.');
  return [from, to];
}

export function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

export function withCommon(command: Command): Command {
  return command
    .option('--json', 'one JSON document on stdout and nothing else there')
    .option('--quiet', 'no progress on stderr')
    .option('--debug', 'show the stack of an error')
    .option('--threads <n>', 'workers; the result does not depend on it (default: all cores)', integer(1, 256));
}

export function withCache(command: Command): Command {
  return command.addOption(
    new Option('--kv-bits <b>', 'keys and values of the cache in so many bits, the latest tokens apart (default: f32)').choices(
      Object.keys(kvPresets),
    ),
  );
}

/** The scheme that `--kv-bits` asks for. */
export function cacheOf({ kvBits }: { kvBits?: string }, { headDim }: { headDim: number }): { kv?: KvScheme } {
  return kvBits === undefined ? {} : { kv: kvPreset(kvBits, headDim) };
}

export function threadsOf({ threads }: Common): number {
  return threads ?? availableParallelism();
}

/** The options of cli.md's list that say what is quantized how. */
export function withQuantization(command: Command): Command {
  return command
    .option('--recipe <file>', 'a recipe; options override it')
    .option('--method <name>', `${Object.keys(methods).join(', ')}`)
    .option('--bits <b>', 'bits of a code (4)', integer(1, 8))
    .option('--group <n>', 'consecutive inputs that share a scale; -1 = the whole row (128)', integer(-1))
    .option('--symmetric', 'no zero point')
    .option('--asymmetric', 'with a zero point')
    .option('--range <name>', `absmax, ${rangeNames.join(', ')}`)
    .option('--alpha <x>', 'SmoothQuant: how much of the difficulty moves from inputs to weights (0.5)', number(0, 1))
    .option('--double-quant', 'scales of NF4 and FP4 in 8 bits under one float')
    .option('--type <name>', 'a GGUF file type (q4_k_m) or a tensor type (q6_k)')
    .option('--activation-bits <b>', "bits of the linears' inputs, quantized token by token at run time", integer(2, 8))
    .addOption(
      new Option(
        '--activation-observer <name>',
        "one static scale for each linear's input, which this observer finds on the calibration text",
      ).choices(Object.keys(observers)),
    )
    .addOption(
      new Option('--kv-bits <b>', 'keys and values of the cache in so many bits while the model generates').choices(
        Object.keys(kvPresets),
      ),
    )
    .option('--threshold <x>', 'LLM.int8(): columns of inputs in which a value reaches it stay as they are (6)', number(1e-6))
    .option('--to <container>', 'gguf, gptq, compressed-tensors, fewbits or safetensors (default: by the extension of OUT)')
    .option('--pure', 'one tensor type for all matrices')
    .option('--keep <pattern>', 'glob on tensor names that stay at high precision; repeatable', collect)
    .option('--print-recipe', 'print the recipe and stop')
    .option('--act-order', 'GPTQ: columns by descending activation, groups as runs of that order (gptq, fewbits)')
    .option('--damp <x>', 'GPTQ: share of the mean diagonal that is added to the Hessian (0.01)', number(1e-6, 100))
    .option('--refine <rounds>', 'GPTQ: rounds of refitted scales and descent on codes (2)', integer(0, 20))
    .addOption(
      new Option(
        '--calibration <order>',
        'inputs of a layer come from the unquantized model, from quantized layers before it, from quantized linears too (parallel)',
      ).choices(['parallel', 'block', 'sequential']),
    )
    .option('--text <file>', 'calibration text (default: the built-in one)')
    .option('--samples <n>', 'windows of the calibration text (128)', integer(1, 1_000_000))
    .option('--context <n>', "tokens in a window (256 for the default model, else 2048 or the model's limit)", integer(2))
    .option('--seed <n>', 'windows at random places of the calibration text', integer(0))
    .option('--chat-template', 'the calibration text is JSONL of messages, rendered by the chat template')
    .option('--layers <from-to>', 'quantize only these layers: 0-1', layerRange)
    .option('--stats <file>', "statistics of the inputs: ours (.safetensors), or llama.cpp's importance matrix (.gguf, .dat)")
    .option('--fit <size>', 'a mixed precision within 3MB or 4.5bpw, from measured errors', budget)
    .option('--sensitivities <file>', '--fit: what was measured is kept here, and used again where it is there')
    .option('--requantize', 'the source may be quantized already')
    .option('--max-shard-size <size>', 'split the output into files of at most this size', size)
    .addOption(
      new Option(
        '--encoder <name>',
        "values of ggml blocks: ggml's own bytes, or scales and codes searched for the least (weighted) error (exact)",
      ).choices(['exact', 'search']),
    );
}

export interface QuantizationFlags extends Common {
  recipe?: string;
  method?: string;
  bits?: number;
  group?: number;
  symmetric?: boolean;
  asymmetric?: boolean;
  range?: string;
  activationBits?: number;
  activationObserver?: ObserverName;
  doubleQuant?: boolean;
  alpha?: number;
  kvBits?: QuantizeOptions['kvBits'];
  threshold?: number;
  type?: string;
  to?: string;
  pure?: boolean;
  keep?: string[];
  stats?: string;
  requantize?: boolean;
  maxShardSize?: number;
  encoder?: string;
  actOrder?: boolean;
  damp?: number;
  refine?: number;
  calibration?: string;
  text?: string;
  samples?: number;
  context?: number;
  seed?: number;
  chatTemplate?: boolean;
  layers?: [from: number, to: number];
  fit?: Budget;
  sensitivities?: string;
}

export function quantizeOptions(flags: QuantizationFlags): QuantizeOptions {
  if (flags.symmetric && flags.asymmetric) throw new RecipeError('--symmetric and --asymmetric exclude each other');
  const {
    recipe,
    method,
    bits,
    group,
    range,
    activationBits,
    activationObserver,
    doubleQuant,
    alpha,
    kvBits,
    threshold,
    type,
    to,
    pure,
    keep,
    encoder,
  } = flags;
  const { actOrder, damp, refine, calibration, samples, context, seed, chatTemplate, layers } = flags;
  const symmetric = flags.symmetric ? true : flags.asymmetric ? false : undefined;
  const given = {
    method,
    bits,
    group,
    range,
    activationBits,
    activationObserver,
    doubleQuant,
    alpha,
    kvBits,
    threshold,
    type,
    to,
    pure,
    keep,
    encoder,
    symmetric,
    actOrder,
    damp,
    refine,
    calibration,
    samples,
    context,
    seed,
    chatTemplate,
    layers,
    text: flags.text === undefined ? undefined : true,
    fit: flags.fit === undefined ? undefined : true,
    ...(recipe !== undefined && { recipe: readJson(recipe) }),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as QuantizeOptions;
}

/** @throws FileError when the file cannot be read, RecipeError when it is not JSON. */
function readJson(path: string): unknown {
  const text = readText(path);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new RecipeError({ what: `not JSON: ${(error as Error).message}`, where: path });
  }
}

/** @throws FileError when the file cannot be read. */
export function readText(path: string): string {
  return readBytes(path).toString('utf8');
}

/** @throws FileError when the file cannot be read. */
export function readBytes(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new FileError({
      what: 'cannot read the file',
      where: path,
      value: (error as NodeJS.ErrnoException).code,
      next: 'check the path',
    });
  }
}
