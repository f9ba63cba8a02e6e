import { statisticKinds } from '../quantize/statistics.ts';
import { openStatistics, type StatisticsFile } from '../run/index.ts';
import { type Common, printResult, table } from './terminal.ts';

/** What a statistics file holds: ours, or llama.cpp's importance matrix. */
export async function inspectStatistics(name: string, flags: Common): Promise<void> {
  const reader = await openStatistics(name);
  try {
    const linears = reader.linears().map((linear) => describe(reader, linear));
    const kinds = statisticKinds.filter((kind) => linears.some((one) => one.kinds.includes(kind)));
    const counts = linears.flatMap(({ tokens }) => (tokens === null ? [] : [tokens]));
    const tokens = counts.length > 0 ? Math.max(...counts) : null;
    const { provenance } = reader;
    const document = {
      container: 'statistics',
      architecture: null,
      tokens,
      kinds,
      ...(provenance && { provenance }),
      tensors: linears,
      warnings: [],
    };
    printResult(flags, document, () =>
      [
        `${name}: statistics of ${linears.length} linears, ${tokens ?? 'unknown'} tokens: ${kinds.join(', ')}; no model, but what --stats takes`,
        ...(provenance
          ? [
              `made by fewbits ${provenance.version} from ${provenance.text.name}, ${provenance.samples} windows of ${provenance.context} tokens`,
            ]
          : []),
        '',
        table(
          ['linear', 'width', 'tokens', 'holds'],
          linears.map((one) => [
            one.name,
            one.width,
            one.tokens ?? '',
            one.sharedWith ? `as ${one.sharedWith}` : one.kinds.join(', '),
          ]),
          [1, 2],
        ),
      ].join('\n'),
    );
  } finally {
    await reader.close();
  }
}

function describe(reader: StatisticsFile, name: string) {
  const kinds = statisticKinds.filter((kind) => reader.has(name, kind));
  const tokens = reader.tokens(name);
  const shared = reader.shared(name);
  return {
    name,
    width: kinds[0] ? reader.shape(name, kinds[0])!.at(-1)! : 0,
    tokens: Number.isNaN(tokens) ? null : tokens,
    kinds,
    ...(shared !== name && { sharedWith: shared }),
  };
}
