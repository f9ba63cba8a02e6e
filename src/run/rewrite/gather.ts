/** Statistics that one walk through the model as it is leaves in the unfinished folder, for transforms and for what follows them. */

import type { Model } from '../../format/types.ts';
import type { Store } from '../../io/types.ts';
import type { InputGroup } from '../../model/index.ts';
import type { StatisticsReader } from '../../quantize/statistics.ts';
import type { Gathered } from '../../recipe/looks.ts';
import { type CollectOptions, calibratedInputs, collectStatistics } from '../calibration/collect.ts';
import { sampleCount } from '../calibration/sums.ts';
import type { CalibrationWindows } from '../calibration/windows.ts';
import { linearNames } from '../statistics/names.ts';
import { openStatistics } from '../statistics/open.ts';
import { createStatistics, type StatisticsHead } from '../statistics/writer.ts';

export const gatheredName = (folder: string) => `${folder}/gathered.safetensors`;

/** Collects them, unless an earlier run did. */
export async function gather(
  model: Model,
  windows: CalibrationWindows,
  { kinds, head }: Gathered,
  { store, folder }: { store: Store; folder: string },
  options: Pick<CollectOptions, 'signal' | 'onProgress' | 'spill'>,
): Promise<StatisticsReader> {
  const name = gatheredName(folder);
  if (!(await store.stat(name))) {
    const { layers } = model.spec!;
    const range = head ? undefined : { from: 0, to: layers - 1 };
    const { samples, context } = windows;
    const tokens = samples * context;
    const groups = calibratedInputs(model.spec!, range).flatMap((one) => one.groups);
    const heads = groups.map(
      ({ linears, width }: InputGroup): StatisticsHead => ({ linears, width, tokens, kinds, sampleRows: sampleCount(tokens) }),
    );
    const writer = await createStatistics(store, name, { heads, names: linearNames(), chunkSize: context, datasets: [] });
    try {
      await collectStatistics(model, windows, {
        ...options,
        kinds,
        ...(range && { layers: range }),
        onStatistics: ({ linears }, statistics) => writer.add(linears[0]!, statistics),
      });
      await writer.finish();
    } finally {
      await writer.close();
    }
  }
  return openStatistics(await store.open(name), model);
}
