/** `fewbits hardware memory`: bytes of weights, cache and activations, what fits, finetuning. */
import { Command, Option } from 'commander';
import { RecipeError } from '../../errors.ts';
import {
  type FinetuneKind,
  finetuneBytes,
  inferenceActivationBytes,
  type KvStorage,
  kvCacheBytes,
  largestTensorBytes,
  loaders,
  loadPeakBytes,
  type Machine,
  machineNamed,
  maxBatch,
  maxContext,
  modelWeightBytes,
  type Running,
  type WeightBytes,
  weightBytes,
} from '../../hardware/index.ts';
import { integer, number, size } from '../options.ts';
import { bytesText, printResult } from '../terminal.ts';
import {
  bytesTable,
  type CacheFlags,
  cacheOf,
  needParameters,
  type StorageFlags,
  type Subject,
  type SubjectFlags,
  storageOf,
  subjectOf,
  tokensOf,
  withCache,
  withStorage,
  withSubject,
} from './subject.ts';

interface MemoryFlags extends SubjectFlags, StorageFlags, CacheFlags {
  memory?: number;
  machine?: string;
  finetune?: FinetuneKind;
  rank: number;
  checkpointing?: boolean;
  sequence: number;
}

export function memoryCommand(): Command {
  return withCache(withStorage(withSubject(new Command('memory'))))
    .description('bytes of weights, cache and activations; what fits into a memory; finetuning')
    .option('--outliers <share>', 'this share of weights stays at 16 bits, each with a place of 32 bits', number(0, 1))
    .option('--memory <size>', 'the largest batch and context that fit into 24GB', size)
    .option('--machine <name>', "as --memory, with a machine's memory")
    .addOption(new Option('--finetune <kind>', 'memory of finetuning').choices(['full', 'lora', 'qlora']))
    .option('--rank <r>', 'of adapters on all linears', integer(1), 16)
    .option('--sequence <n>', 'finetuning: tokens of a sequence', integer(1), 512)
    .option('--checkpointing', 'finetuning: activations of a layer are computed again')
    .action(async (name: string | undefined, flags: MemoryFlags) => {
      const subject = await subjectOf(name, flags);
      const tokens = tokensOf(subject, flags.tokens);
      const cache = cacheOf(flags);
      const weights = weightsOf(subject, flags);
      const { geometry, spec } = subject;
      const kvBytes = geometry ? kvCacheBytes({ ...geometry, batch: flags.batch }, tokens, cache) : 0;
      const one = spec && { activationBytes: inferenceActivationBytes(spec, { tokens: 1, batch: flags.batch, context: tokens }) };
      const document = {
        weightBytes: weights.bytes,
        kvBytes,
        totalBytes: weights.bytes + kvBytes,
        bitsPerWeight: weights.bitsPerWeight,
        parameters: weights.parameters,
        parts: weights.parts,
        tokens,
        batch: flags.batch,
        ...one,
        ...(spec && { load: loadPeaks(subject, flags, weights.bytes) }),
        ...fitting(subject, flags, weights.bytes, tokens, cache),
        ...(flags.finetune && { finetune: finetuneOf(subject, flags, flags.finetune) }),
        warnings: subject.warnings,
      };
      printResult(flags, document, () => memoryText(document, weights));
    });
}

/** With a model and without --bits: as its files are. */
function weightsOf(subject: Subject, flags: StorageFlags): WeightBytes {
  const { spec, stored } = subject;
  const parameters = needParameters(subject);
  if (stored !== undefined && flags.bits === undefined) {
    return {
      bytes: stored.all,
      parts: [{ part: 'as stored', bytes: stored.all }],
      parameters,
      bitsPerWeight: (8 * stored.all) / parameters,
    };
  }
  const storage = storageOf(flags);
  return spec ? modelWeightBytes(spec, { ...storage, keptBits: Math.max(16, storage.bits) }) : weightBytes(parameters, storage);
}

function loadPeaks({ spec, stored }: Subject, flags: StorageFlags, weights: number): Record<string, number> {
  const largest = flags.bits === undefined ? stored!.largest : largestTensorBytes(spec!, storageOf(flags));
  const names = Object.keys(loaders) as (keyof typeof loaders)[];
  return Object.fromEntries(names.map((name) => [name, loadPeakBytes({ weights, largest }, name)]));
}

function fitting(subject: Subject, flags: MemoryFlags, weights: number, tokens: number, storage: KvStorage): object {
  const memory = flags.memory ?? (flags.machine === undefined ? undefined : machineMemory(machineNamed(flags.machine)));
  const { geometry } = subject;
  if (memory === undefined) return {};
  if (!geometry) return { memory, fits: weights <= memory };
  const running: Running = { memory, weights, geometry, storage };
  return {
    memory,
    fits: weights + kvCacheBytes({ ...geometry, batch: flags.batch }, tokens, storage) <= memory,
    maxContext: maxContext(running, flags.batch),
    ...(tokens > 0 && { maxBatch: maxBatch(running, tokens) }),
  };
}

function machineMemory({ memory, title }: Machine): number {
  if (memory !== undefined) return memory;
  throw new RecipeError({ what: 'its memory depends on the device', where: title, next: 'say --memory' });
}

function finetuneOf({ spec }: Subject, flags: MemoryFlags, kind: FinetuneKind): object {
  if (!spec)
    throw new RecipeError({
      what: 'gradients and activations follow from the shapes of a model',
      where: '--finetune',
      next: 'name a model',
    });
  const { rank, batch, sequence, checkpointing = false } = flags;
  return { kind, ...finetuneBytes(spec, { kind, rank, batch, tokens: sequence, checkpointing }) };
}

interface MemoryDocument {
  weightBytes: number;
  kvBytes: number;
  totalBytes: number;
  tokens: number;
  batch: number;
  activationBytes?: number;
  load?: Record<string, number>;
  memory?: number;
  fits?: boolean;
  maxBatch?: number;
  maxContext?: number;
  finetune?: object;
}

function memoryText(document: MemoryDocument, weights: WeightBytes): string {
  const { kvBytes, totalBytes, tokens, batch, activationBytes, load, memory, fits, finetune } = document;
  const rows: (readonly [string, number])[] = [
    ...weights.parts.map(({ part, bytes }) => [`  ${part}`, bytes] as const),
    [`weights, ${weights.bitsPerWeight.toFixed(3)} bits each`, weights.bytes],
    [`cache of ${batch} x ${tokens} tokens`, kvBytes],
    ['weights and cache', totalBytes],
    ...(activationBytes === undefined ? [] : [['activations of one step', activationBytes] as const]),
    ...Object.entries(load ?? {}).map(([name, bytes]) => [`peak while loading: ${name}`, bytes] as const),
    ...Object.entries(finetune ?? {}).flatMap(([name, value]) =>
      typeof value === 'number' && name !== 'trained' ? [[`finetuning: ${name}`, value] as const] : [],
    ),
  ];
  const most =
    memory === undefined
      ? []
      : [
          `${fits ? 'fits' : 'does not fit'} into ${bytesText(memory)}` +
            (document.maxContext === undefined ? '' : `; at most ${document.maxContext} tokens of ${batch} sequences`) +
            (document.maxBatch === undefined ? '' : `, ${document.maxBatch} sequences of ${tokens} tokens`),
        ];
  return [bytesTable(rows), ...most].join('\n');
}
