/** What the pool needs to know of a thread, wherever it runs: both ends of the message channel. */

/** A worker seen from the thread that started it. Callbacks are set once, before the first `post`. */
export interface WorkerLike {
  post(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  onMessage(receive: (message: unknown) => void): void;
  /** The worker could not be loaded or threw outside of a task. */
  onError(fail: (error: Error) => void): void;
  /** The worker is gone; browsers do not tell. */
  onExit(exit: (code: number) => void): void;
  /** Lets go of a worker that is idle or has failed; ends it where it does not end by itself. */
  close(): void;
}

/** The other end, inside the worker. */
export interface PortLike {
  post(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  onMessage(receive: (message: unknown) => void): void;
  /** Stops listening, so that the worker ends. */
  close(): void;
}

/** What a worker can do: name of the task -> its function. A result of `transfer(value, buffers)` gives the buffers away. */
export type Handlers = Record<string, (payload: unknown) => unknown>;
