import type { PlacedTensor } from '../format/types.ts';
import type { Survey } from '../quantize/kinds/types.ts';
import { surveyTilesOf } from '../recipe/tiles.ts';
import type { TileInputs, TileTask } from './tile.ts';
import type { TileWorkers } from './workers.ts';

/** What all rows of a tensor agree on, before the first tile is encoded. */
export async function surveyTensor(tensor: PlacedTensor, workers: TileWorkers, inputs?: TileInputs): Promise<Survey> {
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
  const limits = parts.flatMap((part) => part.limits ?? []);
  if (limits.length === 0) return parts[0]!;
  return {
    ...parts[0],
    limits: { min: Math.min(...limits.map(({ min }) => min)), max: Math.max(...limits.map(({ max }) => max)) },
  };
}
