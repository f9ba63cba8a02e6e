import { spawnWorker, type WorkerLike } from '#kernels/threads';

/** Starts a worker of a run; bundlers recognise this form of a worker's URL. */
export function spawnTileWorker(): WorkerLike {
  return spawnWorker(new URL('./worker.js', import.meta.url));
}

/** A page has no number: its lock holds until it is closed, and a lock that is found was left behind. */
export function processName(): string {
  return 'page';
}

export function isRunning(): boolean {
  return false;
}

/** Browsers do not tell a page's peak memory. */
export function peakMemory(): number {
  return 0;
}
