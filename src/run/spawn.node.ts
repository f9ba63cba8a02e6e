import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { spawnWorker, type WorkerLike } from '#kernels/threads';

/** Starts a worker of a run. The compiled entry is found through the package's own imports, also when sources are run by a test. */
export function spawnTileWorker(): WorkerLike {
  return spawnWorker(pathToFileURL(createRequire(import.meta.url).resolve('#run/worker')));
}

/** The most memory this process has held, in bytes, all threads included. */
export function peakMemory(): number {
  return process.resourceUsage().maxRSS * 1024;
}
