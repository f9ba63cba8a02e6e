/**
 * A pool of workers: tasks wait in a queue, first in, first out, and a worker has one at a time. Workers start when they are
 * needed and end by message, never in the middle of a task.
 */
import { workerPort } from '#kernels/threads';
import { FewbitsError, LimitError, RecipeError } from '../errors.ts';
import { type CrossedError, cross, uncross } from './cross-error.ts';
import type { Handlers, PortLike, WorkerLike } from './worker-like.ts';

/** To a worker. */
type Order = { task: string; payload: unknown } | { close: true };
/** From a worker. */
type Answer = { value: unknown } | { error: CrossedError } | { closed: true };

interface Task {
  order: { task: string; payload: unknown };
  transfer: readonly ArrayBuffer[];
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

interface Slot {
  worker: WorkerLike;
  task?: Task | undefined;
  /** Settles `close` of this worker. */
  gone?: () => void;
}

export interface Pool {
  /** Runs a task of `serve`; rejects with the error the task threw, or a LimitError when its worker died or the pool is closed. */
  run(task: string, payload?: unknown, transfer?: readonly ArrayBuffer[]): Promise<unknown>;
  /** Refuses what waits, lets running tasks end, then ends the workers. */
  close(): Promise<void>;
}

/** `size` workers at most. Throws RecipeError for less than one. */
export function createPool(spawn: () => WorkerLike, size: number): Pool {
  if (!(size >= 1)) throw new RecipeError({ what: 'a pool needs a worker', value: size, limit: 1 });
  const queue: Task[] = [];
  const slots = new Set<Slot>();
  let closing: Promise<void> | undefined;

  function next(): void {
    while (queue.length) {
      const idle = [...slots].find((slot) => !slot.task);
      if (!idle && slots.size >= size) return;
      const task = queue.shift()!;
      try {
        give(idle ?? start(), task);
      } catch (error) {
        task.reject(error); // no worker could be started, or the payload cannot be copied and the worker never saw it
      }
    }
  }

  function give(slot: Slot, task: Task): void {
    slot.worker.post(task.order, task.transfer);
    slot.task = task;
  }

  function start(): Slot {
    const slot: Slot = { worker: spawn() };
    slots.add(slot);
    slot.worker.onMessage((message) => answered(slot, message as Answer));
    slot.worker.onError((error) => died(slot, error.message));
    slot.worker.onExit((code) => died(slot, `exit code ${code}`));
    return slot;
  }

  function answered(slot: Slot, answer: Answer): void {
    if ('closed' in answer) {
      slot.gone?.();
      return;
    }
    const { task } = slot;
    slot.task = undefined;
    if ('error' in answer) task?.reject(uncross(answer.error));
    else task?.resolve(answer.value);
    if (closing) end(slot);
    else next();
  }

  /** Called for every exit and for every error, so possibly twice. */
  function died(slot: Slot, how: string): void {
    slots.delete(slot);
    end(slot); // in case it only sent what cannot be read
    slot.worker.close();
    slot.task?.reject(
      new LimitError({
        what: 'a worker died',
        where: slot.task.order.task,
        value: how,
        next: 'use fewer threads or smaller tiles',
      }),
    );
    slot.task = undefined;
    slot.gone?.();
    next();
  }

  function end(slot: Slot): void {
    slot.worker.post({ close: true } satisfies Order);
  }

  return {
    run(task, payload, transfer = []) {
      return new Promise((resolve, reject) => {
        if (closing) return reject(new LimitError({ what: 'the pool is closed', where: task }));
        queue.push({ order: { task, payload }, transfer, resolve, reject });
        next();
      });
    },
    close() {
      closing ??= Promise.all(
        [...slots].map(
          (slot) =>
            new Promise<void>((resolve) => {
              slot.gone = resolve;
              if (!slot.task) end(slot);
            }),
        ),
      ).then(() => {
        for (const slot of slots) slot.worker.close();
        slots.clear();
      });
      for (const task of queue.splice(0)) task.reject(new LimitError({ what: 'the pool is closed', where: task.order.task }));
      return closing;
    },
  };
}

class Given {
  constructor(
    readonly value: unknown,
    readonly buffers: readonly ArrayBuffer[],
  ) {}
}

/** A result whose buffers move to the pool's thread instead of being copied. */
export function transfer(value: unknown, buffers: readonly ArrayBuffer[]): unknown {
  return new Given(value, buffers);
}

/** The worker's side: answers each task with the result, or the error, of its handler. `end` runs before the worker closes. */
export function serve(handlers: Handlers, end: () => Promise<void> = async () => {}, port: PortLike = workerPort()): void {
  async function perform({ task, payload }: { task: string; payload: unknown }): Promise<void> {
    const handler = Object.hasOwn(handlers, task) ? handlers[task] : undefined;
    if (!handler) throw new FewbitsError({ what: 'this worker has no such task', value: task });
    const result = await handler(payload);
    const { value, buffers } = result instanceof Given ? result : new Given(result, []);
    port.post({ value } satisfies Answer, buffers);
  }
  port.onMessage((message) => {
    const order = message as Order;
    if ('close' in order) {
      const closed = () => {
        port.post({ closed: true } satisfies Answer);
        port.close();
      };
      end().then(closed, closed);
      return;
    }
    perform(order).catch((error) => port.post({ error: cross(error) } satisfies Answer));
  });
}
