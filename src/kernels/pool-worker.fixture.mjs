// A worker for pool.test.ts in plain JavaScript: tests run the sources, and a thread of Node 20 cannot load TypeScript.
// It speaks the protocol of `serve`.
import { parentPort } from 'node:worker_threads';

let running = 0;
let mostAtOnce = 0;
let last = new ArrayBuffer(1);

const tasks = {
  square: (n) => n * n,
  sleep: (ms) => new Promise((resolve) => setTimeout(() => resolve(ms), ms)),
  mostAtOnce: () => mostAtOnce,
  reverse(bytes) {
    last = bytes.reverse().buffer;
    return { value: { bytes }, buffers: [last] };
  },
  lastIsDetached: () => last.byteLength === 0,
  fail: (error) => Promise.reject(error),
  crash: () => {
    setTimeout(() => {
      throw new Error('boom');
    });
    return new Promise(() => {});
  },
  exit: (code) => process.exit(code),
};

parentPort.on('message', async ({ task, payload, close }) => {
  if (close) {
    parentPort.postMessage({ closed: true });
    parentPort.close();
    return;
  }
  mostAtOnce = Math.max(mostAtOnce, ++running);
  try {
    const result = await tasks[task](payload);
    const { value, buffers } = result?.buffers ? result : { value: result, buffers: [] };
    parentPort.postMessage({ value }, buffers);
  } catch (error) {
    parentPort.postMessage({ error });
  } finally {
    running--;
  }
});
