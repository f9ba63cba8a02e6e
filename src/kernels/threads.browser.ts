/** Web Workers. Each has a memory of its own, so no page needs special headers. */
import type { PortLike, WorkerLike } from './worker-like.ts';

export type { PortLike, WorkerLike } from './worker-like.ts';

/** Starts the module at `url` in a worker of its own. */
export function spawnWorker(url: URL): WorkerLike {
  const worker = new Worker(url, { type: 'module' });
  return {
    post: (message, transfer) => worker.postMessage(message, [...(transfer ?? [])]),
    onMessage: (receive) => worker.addEventListener('message', ({ data }) => receive(data)),
    onError: (fail) => {
      worker.addEventListener('error', (event) => fail(new Error(event.message || 'a worker could not be loaded')));
      worker.addEventListener('messageerror', () => fail(new Error('a message could not be read')));
    },
    onExit: () => {},
    close: () => worker.terminate(),
  };
}

/** The part of DedicatedWorkerGlobalScope that is used here; the types of a page do not have it. */
interface WorkerScope {
  postMessage(message: unknown, transfer: Transferable[]): void;
  addEventListener(type: 'message', listener: (event: MessageEvent) => void): void;
  close(): void;
}

/** The channel to the page that started this worker. */
export function workerPort(): PortLike {
  const scope = globalThis as unknown as WorkerScope;
  return {
    post: (message, transfer) => scope.postMessage(message, [...(transfer ?? [])]),
    onMessage: (receive) => scope.addEventListener('message', ({ data }) => receive(data)),
    close: () => scope.close(),
  };
}

/** Threads this machine offers. */
export function hardwareThreads(): number {
  return navigator.hardwareConcurrency || 1;
}
