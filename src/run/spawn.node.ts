import { createRequire } from 'node:module';
import { hostname } from 'node:os';
import { pathToFileURL } from 'node:url';
import { spawnWorker, type WorkerLike } from '#kernels/threads';

/** Starts a worker of a run. The compiled entry is found through the package's own imports, also when sources are run by a test. */
export function spawnTileWorker(): WorkerLike {
  return spawnWorker(pathToFileURL(createRequire(import.meta.url).resolve('#run/worker')));
}

/** Names this process for others that share its disk. */
export function processName(): string {
  return `${process.pid} on ${hostname()}`;
}

/** Whether the process of that name may still run: of another machine's processes that is not known, so yes. */
export function isRunning(name: string): boolean {
  const match = /^(\d+) on (.*)$/.exec(name);
  if (!match) return false;
  if (match[2] !== hostname()) return true;
  // A lock with this process's own number was left by an earlier one: the caller knows which locks it holds itself.
  if (Number(match[1]) === process.pid) return false;
  try {
    process.kill(Number(match[1]), 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** The most memory this process has held, in bytes, all threads included. */
export function peakMemory(): number {
  return process.resourceUsage().maxRSS * 1024;
}
