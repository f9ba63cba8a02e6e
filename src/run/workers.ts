import { spawnTileWorker } from '#run/spawn';
import { createPool } from '../kernels/index.ts';
import type { Survey } from '../quantize/kinds/types.ts';
import type { TileResult, TileTask } from './tile.ts';

/** The workers of a run. */
export interface TileWorkers {
  readonly size: number;
  tile(task: TileTask): Promise<TileResult>;
  /** What the task's rows say of what all rows agree on. */
  survey(task: TileTask): Promise<Survey>;
  /** Any other task of worker.ts. */
  task(name: string, payload: unknown): Promise<unknown>;
  close(): Promise<void>;
}

export async function tileWorkers(size: number): Promise<TileWorkers> {
  const pool = createPool(spawnTileWorker, Math.max(1, size));
  return {
    size: Math.max(1, size),
    tile: (task) => pool.run('tile', task) as Promise<TileResult>,
    survey: (task) => pool.run('survey', task) as Promise<Survey>,
    task: (name, payload) => pool.run(name, payload),
    close: () => pool.close(),
  };
}
