/** What the calculators share: a model or the flags that stand for one, how its weights and its cache are stored. */
import type { Command } from 'commander';
import { RecipeError } from '../../errors.ts';
import {
  type DecoderSize,
  decoderOf,
  decoderSize,
  type KvGeometry,
  type KvStorage,
  kvGeometry,
  type Precision,
  precisionOf,
  precisions,
  type WeightStorage,
} from '../../hardware/index.ts';
import type { ModelSpec } from '../../model/index.ts';
import { openModel } from '../models.ts';
import { count, integer, number, withCommon } from '../options.ts';
import { bytesText, type Common, table } from '../terminal.ts';

export interface SubjectFlags extends Common {
  parameters?: number;
  layers?: number;
  heads?: number;
  kvHeads?: number;
  headDim?: number;
}

export interface StorageFlags {
  bits?: number;
  group?: number;
  scaleBits?: number;
  zeroBits?: number;
  outliers?: number;
}

export interface CacheFlags {
  tokens?: number;
  batch: number;
  kvBits: number;
  kvGroup?: number;
}

export function withSubject(command: Command): Command {
  return withCommon(command)
    .argument('[model]', 'its configuration and tensors; or --parameters')
    .option('--parameters <n>', '7e9, 7B, 350M', count)
    .option('--layers <n>', 'decoder layers', integer(1))
    .option('--kv-heads <n>', 'heads of keys and values', integer(1))
    .option('--head-dim <n>', 'values of a head', integer(1));
}

export function withStorage(command: Command): Command {
  return command
    .option('--bits <b>', 'bits of a weight', number(0.1, 64))
    .option('--group <n>', 'weights that share a scale; -1 = a row of the model (128)', integer(-1))
    .option('--scale-bits <b>', 'bits of a scale; 0 counts weights alone (16; 0 from 16 bits of a weight on)', integer(0, 64))
    .option('--zero-bits <b>', 'bits of a zero point (as --scale-bits)', integer(0, 64));
}

export function withCache(command: Command): Command {
  return command
    .option('--tokens <n>', 'tokens in the cache', integer(0))
    .option('--batch <n>', 'sequences', integer(1), 1)
    .option('--kv-bits <b>', 'bits of a key or value', number(0.1, 64), 16)
    .option('--kv-group <n>', 'channels of a head that share a 16-bit scale and zero (no scales)', integer(1));
}

/** A model, or what the flags say of one. */
export interface Subject {
  spec?: ModelSpec;
  parameters?: number;
  geometry?: KvGeometry;
  /** Bytes of the tensors as they are stored. */
  stored?: { all: number; largest: number };
  warnings: readonly string[];
}

export async function subjectOf(name: string | undefined, flags: SubjectFlags): Promise<Subject> {
  const { layers, heads, kvHeads, headDim, parameters } = flags;
  if (name !== undefined && parameters !== undefined)
    throw new RecipeError({ what: 'a model and --parameters exclude each other', where: name });
  const given = Object.entries({ '--layers': layers, '--kv-heads': kvHeads, '--head-dim': headDim });
  const missing = given.filter(([, value]) => value === undefined).map(([flag]) => flag);
  if (name !== undefined) {
    if (missing.length < given.length || heads !== undefined)
      throw new RecipeError({
        what: 'a model has its own shape',
        where: name,
        next: 'leave --layers, --heads, --kv-heads and --head-dim out',
      });
    const model = await openModel(name);
    await model.close();
    const { spec, warnings } = model;
    const stored = {
      all: model.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0),
      largest: model.tensors.reduce((most, tensor) => Math.max(most, tensor.bytes), 0),
    };
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

export function needParameters({ parameters }: Subject): number {
  if (parameters !== undefined) return parameters;
  throw new RecipeError({ what: 'neither a model nor --parameters is given', next: 'name a model, or say --parameters 7e9' });
}

/** Query heads, where there is no model. */
export function withHeads(command: Command): Command {
  return command.option('--heads <n>', 'query heads (as --kv-heads)', integer(1));
}

export function storageOf({ bits = 16, group, scaleBits, zeroBits, outliers }: StorageFlags): WeightStorage {
  return {
    bits,
    ...(group !== undefined && { group }),
    ...(scaleBits !== undefined && { scaleBits }),
    ...(zeroBits !== undefined && { zeroBits }),
    ...(outliers !== undefined && { outliers: { share: outliers } }),
  };
}

export function cacheOf({ kvBits, kvGroup }: CacheFlags): KvStorage {
  return { bits: kvBits, ...(kvGroup !== undefined && { group: kvGroup }) };
}

/** Tokens of the cache: as asked, else what the model can hold. */
export function tokensOf({ spec }: Subject, tokens: number | undefined): number {
  return tokens ?? spec?.context ?? 0;
}

export function bytesTable(rows: readonly (readonly [string, number])[]): string {
  return table(
    ['', 'bytes', '', ''],
    rows.map(([name, bytes]) => [name, bytes, bytesText(bytes), `${(bytes / 2 ** 30).toFixed(3)} GiB`]),
    [1, 2, 3],
  );
}

export function sizeOf(subject: Subject, { heads, kvHeads }: SubjectFlags): DecoderSize {
  const { spec, geometry } = subject;
  if (spec) return decoderSize(spec);
  const attention = geometry && { ...geometry, heads: heads ?? kvHeads! };
  return decoderOf(needParameters(subject), attention);
}

export function chosenPrecision(flags: StorageFlags & { activationBits?: number }): Precision {
  return precisionOf(storageOf(flags), flags.activationBits);
}

/** The usual precisions, and the one that was asked for. */
export function comparedWith(chosen: Precision): Precision[] {
  const others = precisions.filter(({ name }) => name !== chosen.name);
  return [...others, chosen].sort((a, b) => b.storage.bits - a.storage.bits || b.activationBits - a.activationBits);
}
