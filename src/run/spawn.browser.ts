import { spawnWorker, type WorkerLike } from '#kernels/threads';

/** Starts a worker of a run; bundlers recognise this form of a worker's URL. */
export function spawnTileWorker(): WorkerLike {
  return spawnWorker(new URL('./worker.js', import.meta.url));
}

/** Browsers do not tell a page's peak memory. */
export function peakMemory(): number {
  return 0;
}
