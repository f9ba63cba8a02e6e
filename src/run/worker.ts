/** The entry of a run's workers: one instance of the kernels, the files it opened, one tile after another. */
import { serve } from '../kernels/index.ts';
import { type FactorTask, factorTask } from '../quantize/rounding/factor-task.ts';
import { runTile, surveyTile, type TileTask } from './tile.ts';
import { tileTools } from './tile-tools.ts';

const tools = tileTools();

serve(
  {
    tile: async (task) => runTile(task as TileTask, await tools),
    factor: async (task) => factorTask(task as FactorTask, (await tools).kernels),
    survey: async (task) => surveyTile(task as TileTask, await tools),
  },
  async () => (await tools).close(),
);
