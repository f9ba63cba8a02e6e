import type { Model } from '../format/index.ts';
import type { StatisticKind } from '../quantize/statistics.ts';
import {
  type CalibrationWindows,
  type Coverage,
  calibratedInputs,
  collectStatistics,
  createStatistics,
  type LayerRange,
  linearNames,
  provenanceOf,
  runnableSpec,
  sampleCount,
  unfinishedFolder,
  type WalkProgress,
} from '../run/index.ts';
import { placeOf } from './models.ts';

export interface WriteStatisticsOptions {
  /** The file. */
  output: string;
  kinds: readonly StatisticKind[];
  layers?: LayerRange;
  /** The text's name. */
  dataset: string;
  /** Replace a file that exists. */
  force: boolean;
  signal: AbortSignal;
  onProgress(event: WalkProgress): void;
}

/** Collects statistics into a file, input by input. */
export async function writeStatistics(
  model: Model,
  windows: CalibrationWindows,
  { output, kinds, layers, dataset, force, signal, onProgress }: WriteStatisticsOptions,
): Promise<Coverage> {
  const tokens = windows.ids.length;
  const sampleRows = sampleCount(tokens);
  const groups = calibratedInputs(runnableSpec(model), layers).flatMap(({ groups }) => groups);
  const { store, name } = placeOf(output);
  const writer = await createStatistics(store, name, {
    heads: groups.map((group) => ({ ...group, tokens, kinds, sampleRows })),
    names: linearNames(model),
    chunkSize: windows.context,
    datasets: [dataset],
    provenance: await provenanceOf(model, windows, dataset),
    force,
  });
  try {
    const found = await collectStatistics(model, windows, {
      kinds,
      ...(layers && { layers }),
      spill: { store, folder: `${unfinishedFolder(name)}/states` },
      signal,
      onProgress,
      onStatistics: ({ linears }, statistics) => writer.add(linears[0]!, statistics),
    });
    await writer.finish();
    return found;
  } finally {
    await writer.close();
  }
}
