/**
 * A row of the machine table for the machine that this runs on, measured in two to four seconds through ONNX Runtime with the threads that
 * a model gets: how fast tensors of several sizes are read, and how fast large products are computed in f32 and in u8 x s8.
 * The best of repeated runs counts: rates and bandwidths are limits, and other work on the machine only lowers them.
 */
import { bytesOf, createSession, GraphBuilder, type GraphTensor, type RuntimeOptions } from '../../graph/index.ts';
import type { Machine } from '../../hardware/index.ts';
import { repeated } from './clock.ts';

export interface ProbeOptions extends RuntimeOptions {
  /** Bytes that models read a step; each gets a bandwidth of its own. */
  workingSets?: readonly number[];
  /** What is known of the machine beside its speed. */
  title?: string;
  memory?: number;
  /** Of one measurement (0.15). */
  seconds?: number;
  onProgress?: (text: string) => void;
  signal?: AbortSignal;
}

/** Bytes a second at a size; points ascend. */
export interface BandwidthPoint {
  bytes: number;
  bandwidth: number;
}

export interface Probe {
  /** `bandwidth` is that of the largest working set. */
  machine: Machine;
  bandwidths: readonly BandwidthPoint[];
  backend: 'native' | 'wasm';
}

/** Far beyond the last-level cache of most processors. */
const memoryBytes = 256 * 2 ** 20;
const smallestBytes = 2 ** 18;
const columns = 1024;
/** Rows, columns and inner dimension of the products that measure rates. */
const productSize = 1024;

export async function probeMachine(options: ProbeOptions = {}): Promise<Probe> {
  const { workingSets = [], seconds = 0.15, onProgress, signal, title = 'this machine', memory, ...runtime } = options;
  const clamped = workingSets.map((bytes) => Math.min(memoryBytes, Math.max(smallestBytes, Math.round(bytes))));
  const sizes = [...new Set([...clamped, memoryBytes])].sort((a, b) => a - b);
  onProgress?.('probing the machine: bandwidth');
  const bandwidths: BandwidthPoint[] = [];
  // One allocation: smaller sets are its first bytes.
  const values = new Float32Array(memoryBytes / 4).fill(1);
  const readers = await Promise.all(['ReduceMax', 'ReduceSum'].map((op) => openReader(op, runtime)));
  for (const bytes of sizes) {
    signal?.throwIfAborted();
    let best = 0;
    for (const read of readers) best = Math.max(best, await read.bandwidth(values, bytes, seconds));
    bandwidths.push({ bytes, bandwidth: best });
  }
  const backend = readers[0]!.backend;
  for (const reader of readers) await reader.close();
  onProgress?.('probing the machine: products');
  const rates = { fp32: 0, int8: 0 };
  for (const type of ['fp32', 'int8'] as const) {
    signal?.throwIfAborted();
    rates[type] = await productRate(type, runtime, 2 * seconds);
  }
  const machine: Machine = {
    name: 'this-machine',
    title,
    kind: 'cpu',
    rates,
    bandwidth: bandwidths.at(-1)!.bandwidth,
    ...(memory !== undefined && { memory }),
    source: `measured through ONNX Runtime (${backend}), ${runtime.threads ?? 'all'} threads`,
    date: new Date().toISOString().slice(0, 7),
    note: `reads of ${memoryBytes / 2 ** 20} MiB, products of ${productSize} x ${productSize} x ${productSize}`,
    measured: true,
  };
  return { machine, bandwidths, backend };
}

/** Between two measured sizes the seconds a byte go straight over the logarithm of the size. */
export function bandwidthAt(points: readonly BandwidthPoint[], bytes: number): number {
  const [first, last] = [points[0]!, points.at(-1)!];
  if (bytes <= first.bytes) return first.bandwidth;
  const above = points.findIndex((point) => point.bytes >= bytes);
  if (above < 0) return last.bandwidth;
  const [a, b] = [points[above - 1]!, points[above]!];
  const share = Math.log(bytes / a.bytes) / Math.log(b.bytes / a.bytes);
  return 1 / ((1 - share) / a.bandwidth + share / b.bandwidth);
}

/** The probed machine as a model of so many bytes sees it. */
export function machineAt({ machine, bandwidths }: Probe, bytes: number): Machine {
  return { ...machine, bandwidth: bandwidthAt(bandwidths, bytes) };
}

/** Reads rows and keeps one number of each, so that nothing else moves. */
async function openReader(op: string, runtime: RuntimeOptions) {
  const b = new GraphBuilder('read');
  const x = b.input('x', 'f32', ['N', columns]);
  b.output('y', b.node(op, [x, b.ints(1)], { attributes: { keepdims: { int: 0 } } }), 'f32', ['N']);
  const session = await createSession(b.build(), runtime);
  const time = async (values: Float32Array, rows: number, seconds: number) => {
    const x: GraphTensor = { type: 'f32', dims: [rows, columns], data: values.subarray(0, rows * columns) };
    return (await repeated(() => session.run({ x }), seconds)).best;
  };
  return {
    backend: session.backend,
    /** Without what a call of nothing takes. */
    bandwidth: async (values: Float32Array, bytes: number, seconds: number) => {
      const rows = Math.ceil(bytes / (4 * columns));
      const [call, all] = [await time(values, 1, seconds / 5), await time(values, rows, seconds)];
      return (4 * columns * rows) / Math.max(all - call, all / 2);
    },
    close: () => session.close(),
  };
}

/** Operations a second; a multiply-accumulate is two. */
async function productRate(type: 'fp32' | 'int8', runtime: RuntimeOptions, seconds: number): Promise<number> {
  const n = productSize;
  const b = new GraphBuilder('product');
  const x = b.input('x', type === 'fp32' ? 'f32' : 'u8', [n, n]);
  const floats = () => new Float32Array(n * n).fill(0.5);
  if (type === 'fp32') {
    const w = b.constant('w', { type: 'f32', dims: [n, n], bytes: bytesOf(floats()) });
    b.output('y', b.matmul(x, w), 'f32', [n, n]);
  } else {
    const w = b.constant('w', { type: 'i8', dims: [n, n], bytes: new Uint8Array(n * n).fill(3) });
    b.output('y', b.node('MatMulInteger', [x, w]), 'i32', [n, n]);
  }
  const session = await createSession(b.build(), runtime);
  const feed: GraphTensor =
    type === 'fp32'
      ? { type: 'f32', dims: [n, n], data: floats() }
      : { type: 'u8', dims: [n, n], data: new Uint8Array(n * n).fill(7) };
  const { best } = await repeated(() => session.run({ x: feed }), seconds);
  await session.close();
  return (2 * n ** 3) / best;
}
