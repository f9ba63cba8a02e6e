import type { PlacedTensor } from '../format/types.ts';
import { tilesOf } from '../recipe/plan.ts';
import type { TileTask } from './tile.ts';
import type { TileWorkers } from './workers.ts';

/** A scale for the whole tensor needs its smallest and largest value before the first tile is encoded. */
export async function surveyTensors(
  tensors: readonly PlacedTensor[],
  workers: TileWorkers,
  signal?: AbortSignal,
): Promise<Map<number, readonly [min: number, max: number]>> {
  const found = new Map<number, readonly [number, number]>();
  for (const [index, tensor] of tensors.entries()) {
    const { scheme } = tensor;
    if (scheme.kind !== 'integer' || scheme.granularity !== 'tensor') continue;
    signal?.throwIfAborted();
    const task: Omit<TileTask, 'rows'> = {
      name: tensor.source,
      container: 'fewbits',
      from: tensor.from,
      scheme,
      fields: {},
      steps: 'check',
    };
    const parts = await Promise.all(tilesOf(tensor).map((rows) => workers.survey({ ...task, rows })));
    found.set(index, [Math.min(...parts.map(([min]) => min)), Math.max(...parts.map(([, max]) => max))]);
  }
  return found;
}
