/** Writing of statistics as they come, into any of the three files, which get their names when they are complete. */
import { layoutSafetensors, type TensorHead } from '../../checkpoint/safetensors/index.ts';
import { FileError, LimitError, RecipeError } from '../../errors.ts';
import { bytesOf } from '../../graph/index.ts';
import type { Store } from '../../io/types.ts';
import { type StatisticKind, type Statistics, type StatisticsProvenance, statisticKinds } from '../../quantize/statistics.ts';
import { takeLock } from '../lock.ts';
import { type Imatrix, type ImatrixEntry, writeImatrix } from './imatrix.ts';
import { writeLegacyImatrix } from './legacy-imatrix.ts';
import type { LinearNames } from './names.ts';

/** What will be written of one input; known before it is measured. */
export interface StatisticsHead {
  /** The first one stands for all. */
  linears: readonly string[];
  width: number;
  /** NaN when not known. */
  tokens: number;
  kinds: readonly StatisticKind[];
  /** Rows of `samples`. */
  sampleRows?: number;
}

export interface StatisticsWriter {
  /** @param linear the first of a head */
  add(linear: string, statistics: Statistics): Promise<void>;
  /** Writes what is left and gives the file its name. */
  finish(): Promise<void>;
  /** Removes what is not finished. */
  close(): Promise<void>;
}

export interface WriterOptions {
  heads: readonly StatisticsHead[];
  names: LinearNames;
  /** Of an importance matrix: tokens of a window, names of the texts. */
  chunkSize: number;
  datasets: readonly string[];
  /** Of our own file. */
  provenance?: StatisticsProvenance;
  /** Replaces a file of that name. */
  force?: boolean;
}

type Content = Omit<StatisticsWriter, 'close'> & { close?(): Promise<void> };
interface StatisticsFormat {
  kinds: readonly StatisticKind[];
  open(store: Store, file: string, options: WriterOptions): Promise<Content>;
}

const imatrix = (encode: (matrix: Imatrix) => Uint8Array): StatisticsFormat => ({
  kinds: ['meansquare'],
  open: async (store, file, options) => imatrixContent(store, file, options, encode),
});

const formats: Readonly<Record<string, StatisticsFormat>> = {
  safetensors: { kinds: statisticKinds, open: safetensorsContent },
  gguf: imatrix(writeImatrix),
  dat: imatrix(writeLegacyImatrix),
};

/** The kinds that a file can hold, by its extension. @throws RecipeError for another extension */
export function kindsOfFile(name: string): readonly StatisticKind[] {
  return formatOf(name).kinds;
}

function formatOf(name: string): StatisticsFormat {
  const format = formats[/\.([a-z]+)$/.exec(name)?.[1] ?? ''];
  if (format) return format;
  throw new RecipeError({
    what: 'the name of a statistics file ends with .safetensors, .gguf or .dat',
    where: name,
    next: 'choose one of them',
  });
}

/** Where a writer works until the file is complete. */
export function unfinishedFolder(name: string): string {
  return `${name}.unfinished`;
}

/** @throws FileError when the file exists and `force` is not set, LimitError when the disk is too full */
export async function createStatistics(store: Store, name: string, options: WriterOptions): Promise<StatisticsWriter> {
  const format = formatOf(name);
  const found = await store.stat(name);
  if (found && !(options.force && found.kind === 'file'))
    throw new FileError({
      what: 'the output exists already',
      where: `${store.name}/${name}`,
      next: found.kind === 'file' ? 'choose another name or add --force' : 'choose another name',
    });
  const folder = unfinishedFolder(name);
  const release = await takeLock(store, `${folder}/lock`);
  let open = true;
  const close = async () => {
    if (!open) return;
    open = false;
    await content?.close?.();
    await store.remove(folder);
    await release();
  };
  let content: Content | undefined;
  try {
    content = await format.open(store, `${folder}/statistics`, options);
  } catch (error) {
    await close();
    throw error;
  }
  const { add, finish } = content;
  return {
    add,
    async finish() {
      await finish();
      await store.rename(`${folder}/statistics`, name);
      await close();
    },
    close,
  };
}

async function safetensorsContent(store: Store, file: string, { heads, provenance }: WriterOptions): Promise<Content> {
  const alias = heads.flatMap(({ linears: [first, ...others] }) => others.map((other) => [other, first] as const));
  const metadata = new Map<string, string>();
  if (alias.length > 0) metadata.set('alias', JSON.stringify(Object.fromEntries(alias)));
  if (provenance) metadata.set('fewbits', JSON.stringify(provenance));
  const layout = layoutSafetensors(heads.flatMap(tensorsOf), metadata.size > 0 ? metadata : undefined);
  const free = await store.free();
  if (free !== undefined && free < layout.fileSize)
    throw new LimitError({
      what: 'the disk has no room for the statistics',
      where: store.name,
      value: layout.fileSize,
      limit: free,
      next: 'write to another disk, or fewer of them with --kinds or --layers',
    });
  const known = new Map(heads.map((head) => [head.linears[0]!, head]));
  const sink = await store.create(file, layout.fileSize);
  const put = (name: string, bytes: Uint8Array) => sink.write(bytes, layout.offsets.get(name)!.offset);
  await sink.write(layout.header, 0);
  return {
    async add(linear, statistics) {
      for (const kind of known.get(linear)!.kinds) await put(`${linear}.${kind}`, bytesOf(statistics[kind]!));
      const { tokens } = statistics;
      if (!Number.isNaN(tokens)) await put(`${linear}.tokens`, bytesOf(BigInt64Array.of(BigInt(tokens))));
    },
    async finish() {
      await sink.flush();
      await sink.close();
    },
    close: () => sink.close(),
  };
}

function tensorsOf({ linears: [linear], width, tokens, kinds, sampleRows = 0 }: StatisticsHead): TensorHead[] {
  const shapes: Partial<Record<StatisticKind, number[]>> = { hessian: [width, width], samples: [sampleRows, width] };
  const count: TensorHead[] = Number.isNaN(tokens) ? [] : [{ name: `${linear}.tokens`, type: 'i64', shape: [1] }];
  return [
    ...kinds.map((kind) => ({ name: `${linear}.${kind}`, type: 'f32' as const, shape: shapes[kind] ?? [width] })),
    ...count,
  ];
}

function imatrixContent(
  store: Store,
  file: string,
  { heads, names, chunkSize, datasets }: WriterOptions,
  encode: (matrix: Imatrix) => Uint8Array,
): Content {
  const known = new Map(heads.map((head) => [head.linears[0]!, head]));
  const entries = new Map<string, ImatrixEntry>();
  return {
    async add(linear, { meansquare, tokens }) {
      const count = tokens > 0 ? tokens : 1;
      const sums = meansquare!.map((mean) => mean * count);
      for (const one of known.get(linear)!.linears) entries.set(names.toGguf(one), { sums, count });
    },
    async finish() {
      const bytes = encode({ entries, chunkSize, datasets });
      await store.remove(file);
      await store.append(file, bytes);
    },
  };
}
