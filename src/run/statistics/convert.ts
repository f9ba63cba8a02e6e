/** One statistics file into another form, as far as that can hold what is there. */
import { RecipeError } from '../../errors.ts';
import type { Store } from '../../io/types.ts';
import { type StatisticKind, type Statistics, statisticKinds } from '../../quantize/statistics.ts';
import { defaultChunkSize } from './imatrix.ts';
import { linearNames } from './names.ts';
import type { StatisticsFile } from './reader.ts';
import { createStatistics, kindsOfFile, type StatisticsHead } from './writer.ts';

export interface Conversion {
  heads: readonly StatisticsHead[];
  /** Kinds of the source that the output does not hold. */
  dropped: readonly StatisticKind[];
}

/** @throws RecipeError when an input has none of the kinds that the output holds */
export async function convertStatistics(
  reader: StatisticsFile,
  store: Store,
  name: string,
  { kinds: wanted, force = false }: { kinds?: readonly StatisticKind[]; force?: boolean } = {},
): Promise<Conversion> {
  const kinds = kindsOfFile(name).filter((kind) => !wanted || wanted.includes(kind));
  const heads = sharing(reader).map((linears) => headOf(reader, linears, kinds));
  const options = {
    heads,
    names: linearNames(),
    chunkSize: defaultChunkSize,
    datasets: datasetsOf(reader),
    force,
    ...provenanceIn(reader),
  };
  const writer = await createStatistics(store, name, options);
  try {
    for (const { linears, kinds, tokens } of heads) {
      const statistics: Statistics = { tokens };
      for (const kind of kinds) statistics[kind] = await reader.read(linears[0]!, kind);
      await writer.add(linears[0]!, statistics);
    }
    await writer.finish();
  } finally {
    await writer.close();
  }
  const held = statisticKinds.filter((kind) => reader.linears().some((linear) => reader.has(linear, kind)));
  return { heads, dropped: held.filter((kind) => !kinds.includes(kind)) };
}

const datasetsOf = ({ provenance }: StatisticsFile) => (provenance ? [provenance.text.name] : []);
const provenanceIn = ({ provenance }: StatisticsFile) => (provenance ? { provenance } : {});

/** Linears that share their statistics, the one that stands for them first. */
function sharing(reader: StatisticsFile): string[][] {
  const groups = new Map<string, string[]>();
  for (const linear of reader.linears()) {
    const first = reader.shared(linear);
    const group = groups.get(first) ?? [first];
    groups.set(first, group);
    if (linear !== first) group.push(linear);
  }
  return [...groups.values()];
}

function headOf(reader: StatisticsFile, linears: string[], allowed: readonly StatisticKind[]): StatisticsHead {
  const [first] = linears as [string];
  const kinds = allowed.filter((kind) => reader.has(first, kind));
  if (kinds.length === 0)
    throw new RecipeError({
      what: `the statistics hold nothing of this linear that the output can hold (${allowed.join(', ')})`,
      where: `${reader.name}: ${first}`,
    });
  const tokens = reader.tokens(first);
  const width = reader.shape(first, kinds[0]!)!.at(-1)!;
  const rows = reader.shape(first, 'samples')?.[0];
  return { linears, width, tokens, kinds, ...(rows !== undefined && { sampleRows: rows }) };
}
