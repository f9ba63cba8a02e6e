/** Worker threads of Node. */
import { availableParallelism } from 'node:os';
import { parentPort, Worker } from 'node:worker_threads';
import { LimitError } from '../errors.ts';
import type { PortLike, WorkerLike } from './worker-like.ts';

export type { PortLike, WorkerLike } from './worker-like.ts';

/** Starts the module at `url` in a thread of its own. */
export function spawnWorker(url: URL): WorkerLike {
  const worker = new Worker(url);
  return {
    post: (message, transfer) => worker.postMessage(message, transfer),
    onMessage: (receive) => void worker.on('message', receive),
    onError: (fail) => void worker.on('error', fail).on('messageerror', fail),
    onExit: (exit) => void worker.on('exit', exit),
    close: () => {}, // ends by itself once its port is closed; terminate() could hit native code in the middle of its work
  };
}

/** The channel to the thread that started this one. Throws LimitError on the main thread. */
export function workerPort(): PortLike {
  const port = parentPort;
  if (!port) throw new LimitError({ what: 'this module is the entry of a worker', next: 'start it with spawnWorker' });
  return {
    post: (message, transfer) => port.postMessage(message, transfer),
    onMessage: (receive) => void port.on('message', receive),
    close: () => port.close(),
  };
}

/** Threads this process may use at once. */
export function hardwareThreads(): number {
  return availableParallelism();
}
