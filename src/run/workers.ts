import { spawnTileWorker } from '#run/spawn';
import { createPool } from '../kernels/index.ts';
import type { TileResult, TileTask } from './tile.ts';

/** The workers of a run. */
export interface TileWorkers {
  readonly size: number;
  tile(task: TileTask): Promise<TileResult>;
  /** Smallest and largest value of the task's rows. */
  survey(task: TileTask): Promise<readonly [min: number, max: number]>;
  /** Any other task of worker.ts. */
  task(name: string, payload: unknown): Promise<unknown>;
  close(): Promise<void>;
}

export async function tileWorkers(size: number): Promise<TileWorkers> {
  const pool = createPool(spawnTileWorker, Math.max(1, size));
  return {
    size: Math.max(1, size),
    tile: (task) => pool.run('tile', task) as Promise<TileResult>,
    survey: (task) => pool.run('survey', task) as Promise<readonly [number, number]>,
    task: (name, payload) => pool.run(name, payload),
    close: () => pool.close(),
  };
}
