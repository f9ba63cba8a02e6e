import type { PlacedTensor } from '../format/types.ts';
import { surveyTilesOf } from '../recipe/tiles.ts';
import type { TileInputs, TileTask } from './tile.ts';
import type { TileWorkers } from './workers.ts';

/** A scale for the whole tensor needs the limits of its range before the first tile is encoded. */
export async function surveyTensor(
  tensor: PlacedTensor,
  workers: TileWorkers,
  inputs?: TileInputs,
): Promise<readonly [min: number, max: number]> {
  const task: Omit<TileTask, 'rows'> = {
    name: tensor.source,
    container: 'fewbits',
    from: tensor.from,
    scheme: tensor.scheme,
    fields: {},
    ...(inputs && { inputs }),
    steps: 'check',
  };
  const parts = await Promise.all(surveyTilesOf(tensor).map((rows) => workers.survey({ ...task, rows })));
  return [Math.min(...parts.map(([min]) => min)), Math.max(...parts.map(([, max]) => max))];
}
