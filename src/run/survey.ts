import type { PlacedTensor } from '../format/types.ts';
import { surveyTilesOf } from '../recipe/plan.ts';
import type { TileTask } from './tile.ts';
import type { TileWorkers } from './workers.ts';

/** A scale for the whole tensor needs the limits of its range before the first tile is encoded. */
export async function surveyTensors(
  tensors: readonly PlacedTensor[],
  workers: TileWorkers,
  signal?: AbortSignal,
): Promise<Map<number, readonly [min: number, max: number]>> {
  const found = new Map<number, readonly [number, number]>();
  for (const [index, tensor] of tensors.entries()) {
    const { scheme } = tensor;
    if (scheme.kind !== 'integer' || scheme.granularity !== 'tensor' || tensor.from.rows === 0) continue;
    signal?.throwIfAborted();
    const task: Omit<TileTask, 'rows'> = {
      name: tensor.source,
      container: 'fewbits',
      from: tensor.from,
      scheme,
      fields: {},
      steps: 'check',
    };
    const parts = await Promise.all(surveyTilesOf(tensor).map((rows) => workers.survey({ ...task, rows })));
    found.set(index, [Math.min(...parts.map(([min]) => min)), Math.max(...parts.map(([, max]) => max))]);
  }
  return found;
}
