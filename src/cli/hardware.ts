/** The calculators of hardware/: what a model takes in memory, energy and time, from a model or from a number of parameters. */
import { Command, Option } from 'commander';
import { RecipeError } from '../errors.ts';
import {
  type DecoderPhase,
  type DecoderSize,
  decoderOf,
  decoderRoofline,
  decoderSize,
  type Energy,
  energy45nm,
  energyOperations,
  type FinetuneKind,
  finetuneBytes,
  inferenceActivationBytes,
  type KvGeometry,
  type KvStorage,
  kvBytesPerToken,
  kvCacheBytes,
  kvGeometry,
  kvGrowth,
  largestTensorBytes,
  layerEnergy,
  loaders,
  loadPeakBytes,
  type Machine,
  machineNamed,
  machines,
  macsPerSquareMillimetre,
  maxBatch,
  maxContext,
  modelWeightBytes,
  type Precision,
  precisionOf,
  precisions,
  type Running,
  tokenEnergy,
  type WeightBytes,
  type WeightStorage,
  weightBytes,
} from '../hardware/index.ts';
import type { ModelSpec } from '../model/index.ts';
import { kvPreset, kvPresets } from '../quantize/index.ts';
import { macCommand } from './hardware-mac.ts';
import { openModel } from './models.ts';
import { count, integer, number, size } from './options.ts';
import { bytesText, type Common, printResult, small, table } from './terminal.ts';

interface SubjectFlags extends Common {
  parameters?: number;
  layers?: number;
  heads?: number;
  kvHeads?: number;
  headDim?: number;
}

interface StorageFlags {
  bits?: number;
  group?: number;
  scaleBits?: number;
  zeroBits?: number;
  outliers?: number;
}

interface CacheFlags {
  tokens?: number;
  batch: number;
  kvBits: number;
  kvGroup?: number;
}

export function hardwareCommand(): Command {
  const hardware = new Command('hardware')
    .description('calculators: memory, key/value cache, a multiply-accumulate array, energy, roofline')
    .argument('[calculator]')
    .action((name?: string) => {
      const next = `choose one of ${calculators.map((command) => command.name()).join(', ')}`;
      throw new RecipeError({ what: name === undefined ? 'no calculator is named' : `unknown calculator '${name}'`, next });
    });
  const calculators = [memoryCommand(), kvCommand(), macCommand(), energyCommand(), rooflineCommand()];
  for (const command of calculators) {
    hardware.addCommand(command.exitOverride().configureOutput({ writeErr: () => {} }));
  }
  return hardware;
}

function withSubject(command: Command): Command {
  return command
    .argument('[model]', 'its configuration and tensors; or --parameters')
    .option('--json', 'one JSON document on stdout and nothing else there')
    .option('--debug', 'show the stack of an error')
    .option('--parameters <n>', '7e9, 7B, 350M', count)
    .option('--layers <n>', 'decoder layers', integer(1))
    .option('--heads <n>', 'query heads (as --kv-heads)', integer(1))
    .option('--kv-heads <n>', 'heads of keys and values', integer(1))
    .option('--head-dim <n>', 'values of a head', integer(1));
}

function withStorage(command: Command): Command {
  return command
    .option('--bits <b>', 'bits of a weight', number(0.1, 64))
    .option('--group <n>', 'weights that share a scale; -1 = a row of the model (128)', integer(-1))
    .option('--scale-bits <b>', 'bits of a scale; 0 counts weights alone (16; 0 from 16 bits of a weight on)', integer(0, 64))
    .option('--zero-bits <b>', 'bits of a zero point (as --scale-bits)', integer(0, 64));
}

function withCache(command: Command): Command {
  return command
    .option('--tokens <n>', 'tokens in the cache', integer(0))
    .option('--batch <n>', 'sequences', integer(1), 1)
    .option('--kv-bits <b>', 'bits of a key or value', number(0.1, 64), 16)
    .option('--kv-group <n>', 'channels of a head that share a 16-bit scale and zero (no scales)', integer(1));
}

/** A model, or what the flags say of one. */
interface Subject {
  spec?: ModelSpec;
  parameters?: number;
  geometry?: KvGeometry;
  /** Bytes of the tensors as they are stored. */
  stored?: number;
  warnings: readonly string[];
}

async function subjectOf(name: string | undefined, flags: SubjectFlags): Promise<Subject> {
  const { layers, kvHeads, headDim, parameters } = flags;
  if (name !== undefined && parameters !== undefined)
    throw new RecipeError({ what: 'a model and --parameters exclude each other', where: name });
  const given = Object.entries({ '--layers': layers, '--kv-heads': kvHeads, '--head-dim': headDim });
  const missing = given.filter(([, value]) => value === undefined).map(([flag]) => flag);
  if (name !== undefined) {
    if (missing.length < given.length)
      throw new RecipeError({
        what: 'a model has its own shape',
        where: name,
        next: 'leave --layers, --kv-heads and --head-dim out',
      });
    const model = await openModel(name);
    await model.close();
    const { spec, warnings } = model;
    const stored = model.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
    return { ...(spec && { spec, geometry: kvGeometry(spec) }), parameters: model.tensors.reduce(elements, 0), stored, warnings };
  }
  if (missing.length > 0 && missing.length < given.length)
    throw new RecipeError({
      what: 'a cache has layers, heads and a width of heads',
      where: missing.join(', '),
      next: 'add them',
    });
  return {
    ...(parameters !== undefined && { parameters }),
    ...(missing.length === 0 && { geometry: { layers: layers!, kvHeads: kvHeads!, headDim: headDim! } }),
    warnings: [],
  };
}

function elements(sum: number, { stored }: { stored: { rows: number; cols: number } }): number {
  return sum + stored.rows * stored.cols;
}

function needParameters({ parameters }: Subject): number {
  if (parameters !== undefined) return parameters;
  throw new RecipeError({ what: 'neither a model nor --parameters is given', next: 'name a model, or say --parameters 7e9' });
}

function storageOf({ bits = 16, group, scaleBits, zeroBits, outliers }: StorageFlags): WeightStorage {
  return {
    bits,
    ...(group !== undefined && { group }),
    ...(scaleBits !== undefined && { scaleBits }),
    ...(zeroBits !== undefined && { zeroBits }),
    ...(outliers !== undefined && { outliers: { share: outliers } }),
  };
}

function cacheOf({ kvBits, kvGroup }: CacheFlags): KvStorage {
  return { bits: kvBits, ...(kvGroup !== undefined && { group: kvGroup }) };
}

/** Tokens of the cache: as asked, else what the model can hold. */
function tokensOf({ spec }: Subject, tokens: number | undefined): number {
  return tokens ?? spec?.context ?? 0;
}

interface MemoryFlags extends SubjectFlags, StorageFlags, CacheFlags {
  memory?: number;
  machine?: string;
  finetune?: FinetuneKind;
  rank: number;
  checkpointing?: boolean;
  sequence: number;
}

function memoryCommand(): Command {
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
        ...(spec && { load: loadPeaks(spec, flags, weights.bytes) }),
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
    return { bytes: stored, parts: [{ part: 'as stored', bytes: stored }], parameters, bitsPerWeight: (8 * stored) / parameters };
  }
  const storage = storageOf(flags);
  return spec ? modelWeightBytes(spec, { ...storage, keptBits: Math.max(16, storage.bits) }) : weightBytes(parameters, storage);
}

function loadPeaks(spec: ModelSpec, flags: StorageFlags, weights: number): Record<string, number> {
  const largest = largestTensorBytes(spec, storageOf(flags));
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

function bytesTable(rows: readonly (readonly [string, number])[]): string {
  return table(
    ['', 'bytes', '', ''],
    rows.map(([name, bytes]) => [name, bytes, bytesText(bytes), `${(bytes / 2 ** 30).toFixed(3)} GiB`]),
    [1, 2, 3],
  );
}

interface KvFlags extends SubjectFlags {
  tokens?: number;
  batch: number;
  bits: number;
  group?: number;
  scaleBits: number;
  zeroBits?: number;
  cache?: string;
}

function kvCommand(): Command {
  return withSubject(new Command('kv'))
    .description('bytes of the key/value cache and how it grows')
    .option('--tokens <n>', "tokens of a sequence (the model's context)", integer(1))
    .option('--batch <n>', 'sequences', integer(1), 1)
    .option('--bits <b>', 'bits of a key or value', number(0.1, 64), 16)
    .option('--group <n>', 'channels of a head that share a scale and a zero (no scales)', integer(1))
    .option('--scale-bits <b>', 'bits of a scale of --group', integer(0, 64), 16)
    .option('--zero-bits <b>', 'bits of a zero of --group (as --scale-bits)', integer(0, 64))
    .addOption(
      new Option('--cache <name>', 'as fewbits generate --kv-bits stores it: the latest tokens at f16').choices(
        Object.keys(kvPresets),
      ),
    )
    .action(async (name: string | undefined, flags: KvFlags) => {
      const subject = await subjectOf(name, flags);
      const { geometry } = subject;
      if (!geometry)
        throw new RecipeError({
          what: 'the shape of the cache is not known',
          next: 'name a model, or say --layers, --kv-heads and --head-dim',
        });
      const tokens = tokensOf(subject, flags.tokens);
      if (tokens === 0) throw new RecipeError({ what: 'the number of tokens is not known', next: 'say --tokens' });
      const { bits, group, scaleBits, zeroBits = scaleBits, batch } = flags;
      const plain: KvStorage = { bits, ...(group !== undefined && { group, scaleBits, zeroBits }) };
      const storage = flags.cache === undefined ? plain : kvPreset(flags.cache, geometry.headDim);
      const shape = { ...geometry, batch };
      const bytes = kvCacheBytes(shape, tokens, storage);
      const document = {
        bytes,
        bytesPerToken: flags.cache === undefined ? kvBytesPerToken(geometry, plain) : Math.ceil(bytes / (tokens * batch)),
        tokens,
        batch,
        growth: kvGrowth(shape, tokens, storage, 8),
        warnings: subject.warnings,
      };
      printResult(flags, document, () =>
        [
          table(
            ['tokens', 'bytes', '', ''],
            document.growth.map((row) => [
              row.tokens,
              row.bytes,
              bytesText(row.bytes),
              `${(row.bytes / 2 ** 30).toFixed(3)} GiB`,
            ]),
            [0, 1, 2, 3],
          ),
          `${document.bytesPerToken} bytes a token of one sequence, ${batch} sequences`,
        ].join('\n'),
      );
    });
}

interface EnergyFlags extends SubjectFlags, StorageFlags, CacheFlags {
  activationBits?: number;
  in?: number;
  out?: number;
  dram: 'least' | 'most';
  sram?: number;
}

function energyCommand(): Command {
  return withCache(withStorage(withSubject(new Command('energy'))))
    .description('energy of a generated token, or of a linear layer (--in, --out), by precision; silicon area')
    .option('--activation-bits <b>', 'bits of inputs: 8 computes in INT8, 16 and 32 in floating point', integer(8, 32))
    .option('--in <n>', 'a linear layer: inputs', integer(1))
    .option('--out <n>', 'a linear layer: outputs', integer(1))
    .option('--sram <size>', "size of the on-chip memory (the table's largest)", size)
    .addOption(new Option('--dram <end>', "which end of the table's range of DRAM").choices(['least', 'most']).default('least'))
    .action(async (name: string | undefined, flags: EnergyFlags) => {
      const { dram, sram, batch } = flags;
      const options = { dram, ...(sram !== undefined && { sramBytes: sram }) };
      const layer = flags.in !== undefined || flags.out !== undefined;
      if (layer && (flags.in === undefined || flags.out === undefined))
        throw new RecipeError({ what: 'a linear layer has inputs and outputs', where: '--in, --out', next: 'give both' });
      const subject: Subject = layer ? { warnings: [] } : await subjectOf(name, flags);
      const tokens = layer ? (flags.tokens ?? 1) : (flags.tokens ?? 0);
      const energyAt = layer
        ? (precision: Precision) => layerEnergy({ in: flags.in!, out: flags.out!, tokens: tokens * batch }, precision, options)
        : (precision: Precision) =>
            tokenEnergy(sizeOf(subject, flags), precision, { tokens, batch, cache: cacheOf(flags) }, options);
      const chosen = chosenPrecision(flags);
      const { picojoules, byOperation } = energyAt(chosen);
      const document = {
        picojoules,
        byOperation,
        of: layer ? 'layer' : 'token',
        precision: chosen.name,
        node: energy45nm.node,
        source: energy45nm.source,
        rows: comparedWith(chosen).map((precision) => ({
          precision: precision.name,
          ...energyAt(precision),
          macsPerSquareMillimetre: macsPerSquareMillimetre(precision.compute),
        })),
        warnings: subject.warnings,
      };
      printResult(flags, document, () => energyText(document));
    });
}

function energyText({ of, node, source, rows }: { of: string; node: string; source: string; rows: EnergyRow[] }): string {
  return [
    table(
      [`energy of a ${of}`, 'mJ', ...energyOperations, 'MACs/mm²'],
      rows.map(({ precision, picojoules, byOperation, macsPerSquareMillimetre: area }) => [
        precision,
        small(picojoules / 1e9),
        ...energyOperations.map((name) => `${((100 * byOperation[name]) / picojoules).toFixed(1)} %`),
        area.toFixed(0),
      ]),
      [1, 2, 3, 4, 5, 6],
    ),
    `${node}: ${source}`,
  ].join('\n');
}

interface EnergyRow extends Energy {
  precision: string;
  macsPerSquareMillimetre: number;
}

interface RooflineFlags extends SubjectFlags, StorageFlags, CacheFlags {
  activationBits?: number;
  machine?: string;
  bandwidth?: number;
  rate?: number;
  phase: DecoderPhase;
}

/** The first machine of the table, where nobody names one. */
const defaultMachine = machines[0]!.name;

function rooflineCommand(): Command {
  return withCache(withStorage(withSubject(new Command('roofline'))))
    .description('tokens a second that a machine allows at best, and what bounds them')
    .option('--activation-bits <b>', 'bits of inputs: 8 computes in INT8, 16 and 32 in floating point', integer(8, 32))
    .option('--machine <name>', `${machines.map((machine) => machine.name).join(', ')} (${defaultMachine})`)
    .option('--bandwidth <size>', 'instead of --machine: bytes of memory a second, 50GB', size)
    .option('--rate <n>', 'instead of --machine: operations a second, 2e12', number(1))
    .addOption(new Option('--phase <name>', 'which phase is answered with').choices(['decode', 'prefill']).default('decode'))
    .action(async (name: string | undefined, flags: RooflineFlags) => {
      const subject = await subjectOf(name, flags);
      const decoder = sizeOf(subject, flags);
      const chosen = chosenPrecision(flags);
      const machine = machineOf(flags, chosen);
      const { batch } = flags;
      const tokens = flags.tokens ?? 512;
      const at = (precision: Precision, phase: DecoderPhase) => ({
        precision: precision.name,
        ...decoderRoofline(decoder, precision, machine, phase, { tokens, batch, cache: cacheOf(flags) }),
      });
      const compared = comparedWith(chosen).filter(({ compute }) => computes(machine, compute));
      const { tokensPerSecond, bound, intensity, ridge, fits } = at(chosen, flags.phase);
      const document = {
        tokensPerSecond,
        bound,
        intensity,
        ridge,
        ...(fits !== undefined && { fits }),
        phase: flags.phase,
        precision: chosen.name,
        tokens,
        batch,
        machine,
        rows: (['prefill', 'decode'] as const).flatMap((phase) => compared.map((precision) => at(precision, phase))),
        warnings: subject.warnings,
      };
      printResult(flags, document, () =>
        [
          table(
            ['phase', 'precision', 'tokens/s', 'bound', 'operations/byte', 'ridge', 'computes in', 'fits'],
            document.rows.map((row) => [
              row.phase,
              row.precision,
              row.tokensPerSecond.toPrecision(4),
              row.bound,
              row.intensity.toPrecision(3),
              row.ridge.toPrecision(3),
              row.compute,
              row.fits === undefined ? '?' : row.fits ? 'yes' : 'no',
            ]),
            [2, 4, 5],
          ),
          `${machine.title}, ${tokens} tokens, batch ${batch}: at best. ${machine.source} (${machine.date})${machine.note ? `; ${machine.note}` : ''}`,
        ].join('\n'),
      );
    });
}

function computes({ rates }: Machine, compute: Precision['compute']): boolean {
  return rates[compute] !== undefined || rates.fp32 !== undefined || (compute === 'int8' && rates.fp16 !== undefined);
}

/** A machine of the table, or one that two numbers describe. */
function machineOf({ machine, bandwidth, rate }: RooflineFlags, { compute }: Precision): Machine {
  if (bandwidth === undefined && rate === undefined) return machineNamed(machine ?? defaultMachine);
  if (bandwidth === undefined || rate === undefined || machine !== undefined)
    throw new RecipeError({ what: 'a machine is a name, or a bandwidth and a rate', where: '--machine, --bandwidth, --rate' });
  const rates = { fp32: rate, [compute]: rate };
  return { name: 'given', title: 'the machine of the options', kind: 'cpu', rates, bandwidth, source: 'options', date: '' };
}

function sizeOf(subject: Subject, { heads, kvHeads }: SubjectFlags): DecoderSize {
  const { spec, geometry } = subject;
  if (spec) return decoderSize(spec);
  const attention = geometry && { ...geometry, heads: heads ?? kvHeads! };
  return decoderOf(needParameters(subject), attention);
}

function chosenPrecision(flags: StorageFlags & { activationBits?: number }): Precision {
  return precisionOf(storageOf(flags), flags.activationBits);
}

/** The usual precisions, and the one that was asked for. */
function comparedWith(chosen: Precision): Precision[] {
  const others = precisions.filter(({ name }) => name !== chosen.name);
  return [...others, chosen].sort((a, b) => b.storage.bits - a.storage.bits || b.activationBits - a.activationBits);
}
