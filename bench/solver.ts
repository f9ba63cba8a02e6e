/** GPTQ of one weight: factorization and rounding with feedback, in real worker threads. */
import { createHash } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { createPool, type Pool, type WorkerLike } from 'fewbits/kernels';
import { Random } from 'fewbits/numeric';
import { type Factor, factorize, type GptqScheme } from 'fewbits/quantize';
import type { QuantizedTile } from 'fewbits/quantized';
import { median } from './measure.ts';
import { fixed, progress, publish } from './results.ts';
import type { RowsTask } from './solver-worker.ts';

const shapes = [
  [2048, 2048],
  [8192, 2048],
  [2048, 8192],
] as const;

const scheme: GptqScheme = {
  kind: 'integer',
  bits: 4,
  symmetric: true,
  signed: false,
  granularity: { group: 128 },
  range: 'absmax-gptq',
  scaleType: 'f16',
  emptyGroup: 'unit',
  arithmetic: { compute: 'f32' },
  rounding: { kind: 'gptq', damp: 0.01, order: 'natural', groups: 'dynamic', block: 128, refine: 0 },
};
/** Rows of a task. */
const tileRows = 256;

interface Seconds {
  factor: number;
  rows: number;
  /** Seconds of all cores: on a machine with other work the better measure. */
  processor: number;
  /** Of the codes: the same in every run. */
  hash: string;
}

export async function benchSolver({ runs, threads }: { runs: number; threads: number }): Promise<void> {
  const pool = createPool(spawn, threads);
  const rows = [];
  for (const [out, input] of shapes) {
    const hessian = syntheticHessian(input);
    const random = new Random(5);
    const weight = Float32Array.from({ length: out * input }, () => 0.02 * random.gaussian()); // [out, input]
    const all: Seconds[] = [];
    // The first run compiles the kernels and makes the arenas grow.
    for (let run = 0; run <= runs; run++) all.push(await solve(pool, weight, [out, input], hessian, threads));
    const warm = all.slice(1);
    const middle = (key: 'factor' | 'rows' | 'processor'): number => median(warm.map((s) => s[key]));
    const seconds = { factor: middle('factor'), rows: middle('rows'), processor: middle('processor') };
    const gigaflops = { factor: input ** 3 / 3e9 / seconds.factor, rows: (out * input ** 2) / 1e9 / seconds.rows };
    rows.push({ shape: [out, input], seconds, gigaflops, same: new Set(all.map((s) => s.hash)).size === 1 });
    progress(`[${out}, ${input}]: ${fixed(seconds.factor)} + ${fixed(seconds.rows)} s`);
  }
  await pool.close();
  publish({
    name: 'solver',
    title: `GPTQ of one weight, 4 bits, group 128, ${threads} threads: seconds`,
    setting: { threads, runs, tileRows },
    rows,
    header: ['shape', 'factor', 'GF/s', 'rows', 'GF/s', 'together', 'all cores', 'same codes'],
    cells: rows.map(({ shape, seconds, gigaflops, same }) => [
      `[${shape.join(', ')}]`,
      fixed(seconds.factor),
      fixed(gigaflops.factor, 1),
      fixed(seconds.rows),
      fixed(gigaflops.rows, 1),
      fixed(seconds.factor + seconds.rows),
      fixed(seconds.processor),
      same ? 'yes' : 'NO',
    ]),
  });
}

async function solve(
  pool: Pool,
  weight: Float32Array,
  shape: readonly [number, number],
  hessian: Float32Array,
  threads: number,
): Promise<Seconds> {
  const [out, input] = shape;
  const processor = process.cpuUsage();
  const start = performance.now();
  const { damp, order } = scheme.rounding;
  const factor = await factorize(hessian, { damp, order, name: 'bench' }, (task, payload) => pool.run(task, payload), threads);
  if ('fallback' in factor) throw new Error(factor.fallback);
  const middle = performance.now();
  const tiles = await Promise.all(
    Array.from({ length: Math.ceil(out / tileRows) }, (_, i) => round(pool, weight, shape, i * tileRows, factor)),
  );
  const end = performance.now();
  const { user, system } = process.cpuUsage(processor);
  const hash = createHash('sha256');
  for (const { codes } of tiles) hash.update(codes);
  const seconds = { factor: (middle - start) / 1000, rows: (end - middle) / 1000, processor: (user + system) / 1e6 };
  return { ...seconds, hash: `${input} ${hash.digest('hex')}` };
}

async function round(
  pool: Pool,
  weight: Float32Array,
  [rows, cols]: readonly [number, number],
  from: number,
  factor: Factor,
): Promise<QuantizedTile> {
  const to = Math.min(from + tileRows, rows);
  const x = weight.slice(from * cols, to * cols);
  const task: RowsTask = { x, place: { name: 'bench', shape: [rows, cols], from, to }, scheme, factor };
  return (await pool.run('rows', task, [x.buffer])) as QuantizedTile;
}

/** The Hessian of inputs of which neighbours are alike and all share a part: dense and positive definite. [n, n] */
function syntheticHessian(n: number): Float32Array {
  const random = new Random(9);
  const gain = Float32Array.from({ length: n }, () => Math.exp(random.gaussian()));
  const h = new Float32Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) h[i * n + j] = gain[i]! * gain[j]! * (0.9 ** Math.abs(i - j) + 0.05);
  }
  return h;
}

function spawn(): WorkerLike {
  const worker = new Worker(new URL('./solver-worker.js', import.meta.url));
  return {
    post: (message, transfer) => worker.postMessage(message, transfer),
    onMessage: (receive) => void worker.on('message', receive),
    onError: (fail) => void worker.on('error', fail),
    onExit: (exit) => void worker.on('exit', exit),
    close: () => {},
  };
}
