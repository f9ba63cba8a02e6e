/** The entry of a run's workers: one instance of the kernels, the files it opened, one tile after another. */
import { serve } from '../kernels/index.ts';
import { runTile, surveyTile, type TileTask } from './tile.ts';
import { tileTools } from './tile-tools.ts';

const tools = tileTools();

serve(
  {
    tile: async (task) => runTile(task as TileTask, await tools),
    survey: async (task) => surveyTile(task as TileTask, await tools),
  },
  async () => (await tools).close(),
);
