import { spawnTileWorker } from '#run/spawn';
import { createPool } from '../kernels/index.ts';
import type { TileResult, TileTask } from './tile.ts';

/** The workers of a run. */
export interface TileWorkers {
  readonly size: number;
  tile(task: TileTask): Promise<TileResult>;
  /** Smallest and largest value of the task's rows. */
  survey(task: TileTask): Promise<readonly [min: number, max: number]>;
  close(): Promise<void>;
}

export async function tileWorkers(size: number): Promise<TileWorkers> {
  const pool = createPool(spawnTileWorker, Math.max(1, size));
  return {
    size: Math.max(1, size),
    tile: (task) => pool.run('tile', task) as Promise<TileResult>,
    survey: (task) => pool.run('survey', task) as Promise<readonly [number, number]>,
    close: () => pool.close(),
  };
}
