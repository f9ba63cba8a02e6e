/**
 * Our own statistics file: safetensors with NAME.hessian [in, in], NAME.absmax, .absmean, .meansquare, .min, .max [in], NAME.samples
 * [k, in], all F32, and NAME.tokens I64 [1]; `__metadata__` may hold `alias`, JSON text {"NAME": "OTHER"}, and `fewbits`, where the file comes from. Any
 * subset is legal.
 */
import { parseJsonObject, readTensor } from '../../checkpoint/index.ts';
import type { Checkpoint, TensorEntry } from '../../checkpoint/types.ts';
import { FormatError, RecipeError } from '../../errors.ts';
import { contentSample, fingerprint, sha256 } from '../../format/fingerprint.ts';
import { type StatisticKind, statisticKinds } from '../../quantize/statistics.ts';
import { parseProvenance } from './provenance.ts';
import { checkValues, checkWidth, missing, type StatisticsFile } from './reader.ts';

/** Dimensions of each kind; the last is the width. */
const dimensions: Readonly<Record<StatisticKind, number>> = {
  hessian: 2,
  samples: 2,
  absmax: 1,
  absmean: 1,
  meansquare: 1,
  min: 1,
  max: 1,
};

/** What the file holds of one linear itself. */
interface Own {
  width?: number;
  /** NaN where the file does not tell. */
  tokens: number;
  tensors: Map<StatisticKind, TensorEntry>;
}

/** Whether a safetensors file is one of statistics: a model may have a tensor that is named like one, but not only such. */
export function holdsStatistics({ tensors }: Checkpoint): boolean {
  return tensors.size > 0 && [...tensors.keys()].every((name) => parted(name) !== undefined);
}

/**
 * @param widths of the linears of a model, which the file must fit
 * @throws RecipeError when it holds no statistics, FormatError when a tensor is not what its name says
 */
export async function readStatisticsFile(file: Checkpoint, widths?: ReadonlyMap<string, number>): Promise<StatisticsFile> {
  const own = new Map<string, Own>();
  for (const entry of file.tensors.values()) await place(file, entry, own);
  if (own.size === 0)
    throw new RecipeError({
      what: 'no statistics: it has no tensor named *.hessian, *.meansquare and the like',
      where: file.name,
      next: 'make them with fewbits calibrate',
    });
  const alias = readAlias(file, own);
  const provenance = parseProvenance(file.metadata?.get('fewbits'), `${file.name}: fewbits`);
  const shared = (linear: string) => (own.has(linear) ? linear : (alias.get(linear) ?? linear));
  const find = (linear: string, kind: StatisticKind) =>
    own.get(linear)?.tensors.get(kind) ?? own.get(alias.get(linear) ?? linear)?.tensors.get(kind);
  return {
    name: file.name,
    ...(provenance && { provenance }),
    linears: () => [...new Set([...own.keys(), ...alias.keys()])],
    has: (linear, kind) => find(linear, kind) !== undefined,
    shape: (linear, kind) => find(linear, kind)?.shape,
    tokens: (linear) => own.get(shared(linear))?.tokens ?? Number.NaN,
    shared,
    async read(linear, kind) {
      const entry = find(linear, kind);
      if (!entry) throw missing(file.name, linear, kind);
      const width = entry.shape.at(-1)!;
      checkWidth(file.name, linear, width, widths);
      const { bytes } = await readTensor(entry);
      const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
      checkValues(`${file.name}: ${entry.name}`, kind, values, width);
      return values;
    },
    fingerprint: async () => sha256((await fingerprint(file)) + (await contentSample(file))),
    close: () => file.close(),
  };
}

async function place(file: Checkpoint, entry: TensorEntry, own: Map<string, Own>): Promise<void> {
  const parts = parted(entry.name);
  if (!parts) return;
  const { linear, kind } = parts;
  const found: Own = own.get(linear) ?? { tokens: Number.NaN, tensors: new Map() };
  own.set(linear, found);
  const where = `${file.name}: ${entry.name}`;
  if (kind === 'tokens') {
    found.tokens = await readTokens(entry, where);
    return;
  }
  const { shape, type } = entry;
  const width = shape.at(-1);
  const square = kind !== 'hessian' || shape[0] === width;
  if (type !== 'f32' || shape.length !== dimensions[kind] || !square || !width)
    throw new FormatError({
      what: `the ${kind} of a statistics file is F32 ${{ hessian: '[in, in]', samples: '[k, in]' }[kind as string] ?? '[in]'}`,
      where,
      value: `${type} [${shape}]`,
    });
  found.width ??= width;
  if (found.width !== width)
    throw new FormatError({ what: 'statistics of one linear have different widths', where, value: width, limit: found.width });
  found.tensors.set(kind, entry);
}

function parted(name: string): { linear: string; kind: StatisticKind | 'tokens' } | undefined {
  const dot = name.lastIndexOf('.');
  const kind = name.slice(dot + 1) as StatisticKind | 'tokens';
  return dot > 0 && (kind === 'tokens' || statisticKinds.includes(kind)) ? { linear: name.slice(0, dot), kind } : undefined;
}

async function readTokens(entry: TensorEntry, where: string): Promise<number> {
  if (entry.type !== 'i64' || `${entry.shape}` !== '1')
    throw new FormatError({
      what: 'the tokens of a statistics file are I64 [1]',
      where,
      value: `${entry.type} [${entry.shape}]`,
    });
  const { bytes } = await readTensor(entry);
  const tokens = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigInt64(0, true));
  if (tokens < 0 || !Number.isSafeInteger(tokens))
    throw new FormatError({ what: 'a number of tokens is impossible', where, value: tokens });
  return tokens;
}

/** @throws FormatError for an alias of a linear that has no statistics of its own */
function readAlias(file: Checkpoint, own: ReadonlyMap<string, Own>): Map<string, string> {
  const text = file.metadata?.get('alias');
  const alias = new Map<string, string>();
  if (text === undefined) return alias;
  const where = `${file.name}: alias`;
  for (const [linear, target] of Object.entries(parseJsonObject(text, where))) {
    if (typeof target !== 'string' || !own.has(target))
      throw new FormatError({ what: 'an alias names no linear of the file', where: `${where}: ${linear}`, value: target });
    alias.set(linear, target);
  }
  return alias;
}
