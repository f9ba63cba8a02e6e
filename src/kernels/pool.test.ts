// The pool with real threads. The worker is a fixture that speaks the protocol of `serve` through the compiled-away types.
import { afterEach, describe, expect, it } from 'vitest';
import { FormatError, LimitError } from '../errors.ts';
import { createPool, type Pool, serve, transfer } from './pool.ts';
import { hardwareThreads, spawnWorker, workerPort } from './threads.node.ts';
import type { PortLike } from './worker-like.ts';

const entry = new URL('./pool-worker.fixture.mjs', import.meta.url);
let pool: Pool;
let spawned = 0;
function open(size: number, url = entry): Pool {
  spawned = 0;
  pool = createPool(() => {
    spawned++;
    return spawnWorker(url);
  }, size);
  return pool;
}
afterEach(() => pool?.close());

describe('createPool', () => {
  it('runs tasks in several threads and gives results back to their callers', async () => {
    const { run } = open(2);
    const results = await Promise.all([1, 2, 3, 4, 5].map((n) => run('square', n)));
    expect(results).toEqual([1, 4, 9, 16, 25]);
    expect(spawned).toBe(2);
  });

  it('starts no more workers than there are tasks', async () => {
    await open(8).run('square', 3);
    expect(spawned).toBe(1);
  });

  it('is first in, first out, one task a worker at a time', async () => {
    const { run } = open(1);
    const order: number[] = [];
    await Promise.all([30, 1, 10].map((ms, i) => run('sleep', ms).then(() => order.push(i))));
    expect(order).toEqual([0, 1, 2]);
    expect(await run('mostAtOnce')).toBe(1);
  });

  it('moves buffers instead of copying them, both ways', async () => {
    const bytes = Uint8Array.of(1, 2, 3);
    const back = (await open(1).run('reverse', bytes, [bytes.buffer])) as { bytes: Uint8Array; detached: boolean };
    expect(bytes.length).toBe(0);
    expect(back.bytes).toEqual(Uint8Array.of(3, 2, 1));
    expect(await pool.run('lastIsDetached')).toBe(true);
  });

  it('carries error families with their problem', async () => {
    const thrown = { family: 'FormatError', problem: { what: 'bad', where: 'x', value: 7, limit: 6, next: 'fix it' } };
    const error = (await open(1)
      .run('fail', thrown)
      .catch((caught) => caught)) as FormatError;
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toBe('x: bad (got 7, limit 6); fix it');
    expect(error.problem).toEqual(thrown.problem);
    const other = await pool.run('fail', { name: 'TypeError', message: 'no' }).catch((caught) => caught);
    expect(other).toMatchObject({ name: 'TypeError', message: 'no' });
  });

  it('rejects the task of a crashed worker and starts another for the next', async () => {
    const { run } = open(1);
    const crashed = run('crash');
    const after = run('square', 5);
    await expect(crashed).rejects.toThrow(LimitError);
    await expect(crashed).rejects.toThrow(/a worker died.*boom/);
    expect(await after).toBe(25);
    await expect(run('exit', 3)).rejects.toThrow(/exit code 3/);
    expect(await run('square', 6)).toBe(36);
  });

  it('rejects tasks of a worker that cannot be loaded', async () => {
    const { run } = open(2, new URL('./no-such-worker.mjs', import.meta.url));
    const results = await Promise.allSettled([run('square', 1), run('square', 2), run('square', 3)]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  });

  it('rejects the task when no worker can be started, and refuses a pool of none', async () => {
    let allowed = false;
    pool = createPool(() => {
      if (!allowed) throw new LimitError('no threads left');
      return spawnWorker(entry);
    }, 1);
    await expect(pool.run('square', 1)).rejects.toThrow(/no threads left/);
    allowed = true;
    expect(await pool.run('square', 4)).toBe(16);
    expect(() => createPool(() => spawnWorker(entry), 0)).toThrow(/a pool needs a worker/);
  });

  it('rejects a payload that cannot be copied and goes on', async () => {
    const { run } = open(1);
    await expect(run('square', () => 0)).rejects.toThrow(/could not be cloned/);
    expect(await run('square', 2)).toBe(4);
  });

  it('close lets the running task end, refuses what waits and what comes', async () => {
    const { run, close } = open(1);
    const [running, waiting] = [run('sleep', 50), run('square', 1)];
    waiting.catch(() => {});
    await close();
    expect(await running).toBe(50);
    await expect(waiting).rejects.toThrow(/the pool is closed/);
    await expect(run('square', 1)).rejects.toThrow(/the pool is closed/);
  });
});

describe('serve', () => {
  /** A port whose other end is called directly. */
  function port() {
    const sent: { message: unknown; buffers: readonly ArrayBuffer[] | undefined }[] = [];
    let receive: (message: unknown) => void = () => {};
    let closed = false;
    const like: PortLike = {
      post: (message, buffers) => void sent.push({ message, buffers }),
      onMessage: (callback) => {
        receive = callback;
      },
      close: () => {
        closed = true;
      },
    };
    return { like, sent, receive: (message: unknown) => receive(message), isClosed: () => closed };
  }
  const settled = () => new Promise((resolve) => setTimeout(resolve));

  it('answers values, transfers, errors, unknown tasks and close', async () => {
    const { like, sent, receive, isClosed } = port();
    const buffer = new ArrayBuffer(4);
    serve(
      {
        add: (n) => (n as number) + 1,
        give: async () => transfer('taken', [buffer]),
        fail: () => {
          throw new FormatError({ what: 'bad', value: () => 0 });
        },
      },
      undefined,
      like,
    );
    for (const order of [{ task: 'add', payload: 1 }, { task: 'give' }, { task: 'fail' }, { task: 'toString' }]) {
      receive(order);
      await settled();
    }
    receive({ close: true });
    await settled();
    expect(sent[0]).toEqual({ message: { value: 2 }, buffers: [] });
    expect(sent[1]).toEqual({ message: { value: 'taken' }, buffers: [buffer] });
    expect(sent[2].message).toEqual({ error: { family: 'FormatError', problem: { what: 'bad', value: '() => 0' } } });
    expect(sent[3].message).toMatchObject({ error: { problem: { what: 'this worker has no such task', value: 'toString' } } });
    expect(sent[4].message).toEqual({ closed: true });
    expect(isClosed()).toBe(true);
  });
});

describe('threads.node', () => {
  it('knows the threads of the machine and refuses a port on the main thread', () => {
    expect(hardwareThreads()).toBeGreaterThanOrEqual(1);
    expect(() => workerPort()).toThrow(LimitError);
  });
});
