/**
 * Single operators with weights far beyond the cache: where few bits are faster, and where not. Figures of a large model's matrices, whatever
 * model is measured. Weights are constants of any value.
 */
import {
  bytesOf,
  createSession,
  dynamicInput,
  type ElementType,
  fewBitsProduct,
  GraphBuilder,
  type GraphTensor,
  type RuntimeOptions,
} from '../../graph/index.ts';
import { cast } from '../../graph/number-nodes.ts';
import { type Machine, machines, roofline } from '../../hardware/index.ts';
import { repeated } from './clock.ts';

export type OperatorCase =
  | 'integer-products'
  | 'fewer-bytes'
  | 'cache-fit'
  | 'accelerator'
  | 'dequantization'
  | 'memory-bound-arithmetic'
  | 'embedding-lookup'
  | 'no-low-bit-kernel';

export interface OperatorRow {
  case: OperatorCase;
  /** What is compared with what: 'int8' with 'f32'. */
  kernel: string;
  baseline: string;
  /** 'product 4096 x 4096', and rows of inputs. */
  operator: string;
  rows: number;
  seconds: number;
  baselineSeconds: number;
  /** Baseline by kernel: above 1 the kernel is faster. */
  speedup: number;
  /** Bytes of the baseline's weights by those of the kernel. */
  bytesRatio: number;
  /** What the case says. */
  expected: 'faster' | 'not faster';
  /** Whether the figure agrees: faster is more than 1.15. */
  holds: boolean;
  /** From published figures of a machine, not measured. */
  predicted?: true;
  why: string;
}

interface CaseText {
  expected: OperatorRow['expected'];
  why: string;
  /** Where the figure disagrees. */
  otherwise: string;
}

const unlike = 'on this machine not: ';

/** What the cases say, and why. */
export const operatorCases: Readonly<Record<OperatorCase, CaseText>> = {
  'integer-products': {
    expected: 'faster',
    why: 'integer SIMD: more 8-bit products an instruction',
    otherwise: `${unlike}its integer products are no faster than those of floats`,
  },
  'fewer-bytes': {
    expected: 'faster',
    why: 'one row: time goes into reading weights, of which there are fewer bytes',
    otherwise: `${unlike}the kernel is bound by its arithmetic`,
  },
  'cache-fit': {
    expected: 'faster',
    why: 'few bits fit a cache that floats do not fit',
    otherwise: `${unlike}neither or both fit its cache`,
  },
  accelerator: {
    expected: 'faster',
    why: 'predicted from published rates, not measured',
    otherwise: 'predicted from published rates, not measured: bound by memory',
  },
  dequantization: {
    expected: 'not faster',
    why: 'many rows: weights become floats, and then floats are multiplied',
    otherwise: `${unlike}reading the floats costs more than widening codes`,
  },
  'memory-bound-arithmetic': {
    expected: 'not faster',
    why: 'as many bytes are read, whatever multiplies them',
    otherwise: `${unlike}the kernel in floats does not reach the bandwidth of memory`,
  },
  'embedding-lookup': {
    expected: 'not faster',
    why: 'a lookup reads single rows: there is little to save',
    otherwise: `${unlike}rows are so many that their bytes count`,
  },
  'no-low-bit-kernel': {
    expected: 'not faster',
    why: 'the runtime has no kernel for these codes: they become floats first',
    otherwise: `${unlike}the detour through floats costs less than the bytes it saves`,
  },
};

/** Inputs and outputs of a large model's linear. */
const largeWidth = 4096;
/** Together beyond the last-level cache of most processors. */
const farBytes = 96 * 2 ** 20;
const fasterFrom = 1.15;
const turns = 4;

type ProductKind = 'f32' | 'int8' | 'int4' | 'int4-int8' | 'int8-weights';

/** Of which the runtime has kernels. */
const measuredKinds = ['f32', 'int8', 'int4', 'int4-int8'] as const;

/** Bytes of a weight, scales included. */
const weightBytes: Readonly<Record<ProductKind, number>> = {
  f32: 4,
  int8: 1,
  int4: 0.5 + 4 / 32,
  'int4-int8': 0.5 + 4 / 32,
  'int8-weights': 1 + 4 / 32,
};

export interface OperatorOptions extends RuntimeOptions {
  /** Rows of a small and of a large batch. */
  rows?: readonly [few: number, many: number];
  /** Inputs and outputs of the products (4096), and bytes of weights that no cache holds (96 MiB). */
  width?: number;
  far?: number;
  /** Of one measurement (0.15). */
  seconds?: number;
  onProgress?: (text: string) => void;
  signal?: AbortSignal;
}

/** @param machine the probed one, which predictions for accelerators are compared with */
export async function benchOperators(machine: Machine, options: OperatorOptions = {}): Promise<OperatorRow[]> {
  const { rows: [few, many] = [16, 128], width = largeWidth, far: bytes = farBytes, ...rest } = options;
  const { seconds = 0.15, onProgress, signal, ...runtime } = rest;
  // Of one matrix: one row with all matrices in turn from memory, and rows of a single matrix that may stay in the cache.
  const far = new Map<ProductKind, number>();
  const near = new Map<string, number>();
  onProgress?.('operators: products of weights in memory');
  const copiesOf = (kind: ProductKind) => Math.ceil(bytes / (weightBytes[kind] * width * width));
  const distant = await openAll((kind) => openProduct(kind, width, copiesOf(kind), runtime));
  for (const [kind, time] of await inTurns(distant, 1, seconds, signal)) far.set(kind, time / copiesOf(kind));
  onProgress?.('operators: products');
  const single = await openAll((kind) => openProduct(kind, width, 1, runtime));
  for (const rows of [1, few, many])
    for (const [kind, time] of await inTurns(single, rows, seconds, signal)) near.set(`${kind} ${rows}`, time);
  for (const one of [...distant.values(), ...single.values()]) await one.close();
  const slow = await openProduct('int8-weights', width, 1, runtime);
  near.set('int8-weights 1', await slow.best(1, 0));
  await slow.close();
  const product = (name: OperatorCase, kernel: ProductKind, baseline: ProductKind, rows: number, from: 'far' | 'near') => {
    const of = (kind: ProductKind) => (from === 'far' ? far.get(kind)! : near.get(`${kind} ${rows}`)!);
    const bytesRatio = weightBytes[baseline] / weightBytes[kernel];
    const operator = `product ${width} x ${width}${from === 'far' ? ', weights in memory' : ''}`;
    return rowOf({ case: name, kernel, baseline, operator, rows, bytesRatio }, of(kernel), of(baseline));
  };
  onProgress?.('operators: lookups and norms');
  const rows = [
    product('integer-products', 'int8', 'f32', many, 'near'),
    product('fewer-bytes', 'int8', 'f32', 1, 'far'),
    product('fewer-bytes', 'int4', 'f32', 1, 'far'),
    product('fewer-bytes', 'int4-int8', 'f32', 1, 'far'),
    product('cache-fit', 'int8', 'f32', 1, 'near'),
    product('cache-fit', 'int4-int8', 'f32', 1, 'near'),
    product('dequantization', 'int4', 'f32', few, 'near'),
    product('dequantization', 'int4', 'f32', many, 'near'),
    asManyBytes(width, far.get('int8')!, far.get('f32')!),
    product('memory-bound-arithmetic', 'int4-int8', 'int4', 1, 'far'),
    await lookup(width, 1, seconds, runtime),
    await lookup(width, many, seconds, runtime),
    await norm(width, many, seconds, runtime),
    product('no-low-bit-kernel', 'int8-weights', 'f32', 1, 'near'),
  ];
  return [...rows, ...acceleratorRows(width, many, machine)];
}

/** Codes of 8 bits, and floats a quarter of them: time by bytes read, whatever they mean. */
function asManyBytes(width: number, int8: number, f32: number): OperatorRow {
  const operator = `product ${width} x ${width}, weights in memory`;
  const baseline = 'f32 of as many bytes';
  return rowOf({ case: 'memory-bound-arithmetic', kernel: 'int8', baseline, operator, rows: 1, bytesRatio: 1 }, int8, f32 / 4);
}

type Known = Pick<OperatorRow, 'case' | 'kernel' | 'baseline' | 'operator' | 'rows' | 'bytesRatio'>;

function rowOf(known: Known, seconds: number, baselineSeconds: number, predicted?: true): OperatorRow {
  const { expected, why, otherwise } = operatorCases[known.case];
  const speedup = baselineSeconds / seconds;
  const holds = speedup > fasterFrom === (expected === 'faster');
  return {
    ...known,
    seconds,
    baselineSeconds,
    speedup,
    expected,
    holds,
    ...(predicted && { predicted }),
    why: holds ? why : otherwise,
  };
}

interface TimedProduct {
  /** Seconds of the best run with so many rows of inputs. */
  best(rows: number, seconds: number): Promise<number>;
  close(): Promise<void>;
}

type TimedProducts = ReadonlyMap<ProductKind, TimedProduct>;

async function openAll(open: (kind: ProductKind) => Promise<TimedProduct>): Promise<TimedProducts> {
  const opened = new Map<ProductKind, TimedProduct>();
  for (const kind of measuredKinds) opened.set(kind, await open(kind));
  return opened;
}

/** Turns alternate, so that other work on the machine meets all kinds alike. */
async function inTurns(
  products: TimedProducts,
  rows: number,
  seconds: number,
  signal: AbortSignal | undefined,
): Promise<Map<ProductKind, number>> {
  const best = new Map<ProductKind, number>();
  for (let turn = 0; turn < turns; turn++)
    for (const [kind, product] of products) {
      signal?.throwIfAborted();
      const time = await product.best(rows, seconds / turns);
      best.set(kind, Math.min(time, best.get(kind) ?? time));
    }
  return best;
}

/** `copies` products of one input, each by a matrix of other values: the runtime holds and multiplies equal ones only once. */
async function openProduct(kind: ProductKind, width: number, copies: number, runtime: RuntimeOptions): Promise<TimedProduct> {
  const b = new GraphBuilder('products');
  const x = b.input('x', 'f32', ['M', width]);
  const make = productOf(b, x, kind, width);
  for (let i = 0; i < copies; i++) b.output(`y.${i}`, make(i), 'f32', ['M', width]);
  const session = await createSession(b.build(), runtime);
  return {
    best: async (rows, seconds) => {
      const feed: GraphTensor = { type: 'f32', dims: [rows, width], data: ramp(rows * width) };
      return (await repeated(() => session.run({ x: feed }), seconds, 1)).best;
    },
    close: () => session.close(),
  };
}

function productOf(b: GraphBuilder, x: string, kind: ProductKind, width: number): (i: number) => string {
  const block = 32;
  const size = width * width;
  if (kind === 'f32') {
    const bytes = (i: number) => bytesOf(new Float32Array(size).fill(0.01 + i / 1000));
    return (i) => b.matmul(x, b.constant(`w.${i}`, { type: 'f32', dims: [width, width], bytes: bytes(i) }));
  }
  const bits = kind.startsWith('int8') ? 8 : 4;
  const bytes = (i: number) => new Uint8Array((size * bits) / 8).fill(0x39 + i);
  if (kind === 'int8') {
    const [codes, scale, zero] = dynamicInput(b, x);
    const factor = b.mul(scale, b.float(0.01));
    return (i) => {
      const w = b.constant(`w.${i}`, { type: 'i8', dims: [width, width], bytes: bytes(i) });
      return b.mul(cast(b, b.node('MatMulInteger', [codes, w, zero]), 'f32'), factor);
    };
  }
  const scales = () => bytesOf(new Float32Array(size / block).fill(0.01));
  return (i) => {
    const w = b.constant(`w.${i}`, { type: 'u8', dims: [width, width / block, (block * bits) / 8], bytes: bytes(i) });
    const s = b.constant(`s.${i}`, { type: 'f32', dims: [size / block], bytes: scales() });
    const inputs = kind === 'int4-int8' ? 'int8' : 'f32';
    return fewBitsProduct(b, [x, w, s], { width, outputs: width, bits, block, inputs });
  };
}

/** Rows of a table [8 width, width / 4]: floats, and codes with a scale a row. */
async function lookup(width: number, rows: number, seconds: number, runtime: RuntimeOptions): Promise<OperatorRow> {
  const [vocab, hidden] = [8 * width, width / 4];
  const ids = BigInt64Array.from({ length: rows }, (_, i) => BigInt((i * 7919) % vocab));
  const measure = async (type: Extract<ElementType, 'f32' | 'i8'>) => {
    const b = new GraphBuilder('lookup');
    const at = b.input('ids', 'i64', ['N']);
    const bytes = type === 'f32' ? bytesOf(new Float32Array(vocab * hidden).fill(0.5)) : new Uint8Array(vocab * hidden).fill(3);
    const found = b.node('Gather', [b.constant('table', { type, dims: [vocab, hidden], bytes }), at]);
    const scales = { type: 'f32' as const, dims: [vocab, 1], bytes: bytesOf(new Float32Array(vocab).fill(0.1)) };
    const values = type === 'f32' ? found : b.mul(cast(b, found, 'f32'), b.node('Gather', [b.constant('scales', scales), at]));
    b.output('y', values, 'f32', ['N', hidden]);
    return sessionSeconds(b, { ids: { type: 'i64', dims: [rows], data: ids } }, seconds, runtime);
  };
  const operator = `lookup in ${vocab} x ${hidden}`;
  const known = { case: 'embedding-lookup', kernel: 'int8', baseline: 'f32', operator, rows, bytesRatio: 4 } as const;
  return rowOf(known, await measure('i8'), await measure('f32'));
}

/** RMSNorm of rows: floats, and 8-bit codes on both sides. */
async function norm(width: number, rows: number, seconds: number, runtime: RuntimeOptions): Promise<OperatorRow> {
  const measure = async (coded: boolean) => {
    const b = new GraphBuilder('norm');
    const x = b.input('x', coded ? 'u8' : 'f32', ['N', width]);
    const scale = b.float(0.02);
    const zero = b.constant('zero', { type: 'u8', dims: [], bytes: Uint8Array.of(128) });
    const values = coded ? b.node('DequantizeLinear', [x, scale, zero]) : x;
    const square = b.node('Pow', [values, b.float(2)]);
    const mean = b.node('ReduceMean', [square, b.ints(-1)], { attributes: { keepdims: { int: 1 } } });
    const root = b.node('Sqrt', [b.add(mean, b.float(1e-5))]);
    const gain = b.constant('gain', { type: 'f32', dims: [width], bytes: bytesOf(new Float32Array(width).fill(1)) });
    const normed = b.mul(b.node('Div', [values, root]), gain);
    const y = coded ? cast(b, b.node('QuantizeLinear', [normed, scale, zero]), 'i32') : normed;
    // Codes leave as their largest, so that no copy of outputs is measured on either side.
    const most = b.node('ReduceMax', [y, b.ints(-1)], { attributes: { keepdims: { int: 0 } } });
    b.output('y', most, coded ? 'i32' : 'f32', ['N']);
    const data = coded ? Uint8Array.from({ length: rows * width }, (_, i) => i % 256) : ramp(rows * width);
    const feed: GraphTensor = { type: coded ? 'u8' : 'f32', dims: [rows, width], data };
    return sessionSeconds(b, { x: feed }, seconds, runtime);
  };
  const operator = `RMSNorm of ${width}`;
  const known = { case: 'no-low-bit-kernel', kernel: 'int8', baseline: 'f32', operator, rows, bytesRatio: 4 } as const;
  return rowOf(known, await measure(true), await measure(false));
}

async function sessionSeconds(
  b: GraphBuilder,
  feeds: Record<string, GraphTensor>,
  seconds: number,
  runtime: RuntimeOptions,
): Promise<number> {
  const session = await createSession(b.build(), runtime);
  const { best } = await repeated(() => session.run(feeds), seconds);
  await session.close();
  return best;
}

/** The large product by published rates of accelerators: int8 against fp16 there, or where only int8 has a rate, against f32 here. */
function acceleratorRows(width: number, rows: number, here: Machine): OperatorRow[] {
  const seconds = (machine: Machine, compute: 'int8' | 'fp16' | 'fp32') => {
    const bytes = (width * width * { int8: 8, fp16: 16, fp32: 32 }[compute]) / 8;
    return roofline({ operations: 2 * rows * width * width, bytes }, machine, compute).seconds;
  };
  return machines
    .filter(({ kind, rates }) => (kind === 'npu' || kind === 'tpu') && rates.int8 !== undefined)
    .map((machine) => {
      const floats = machine.rates.fp16 !== undefined;
      const known: Known = {
        case: 'accelerator',
        kernel: 'int8',
        baseline: floats ? 'fp16' : 'f32 on this machine',
        operator: `product ${width} x ${width} on ${machine.title}`,
        rows,
        bytesRatio: floats ? 2 : 4,
      };
      return rowOf(known, seconds(machine, 'int8'), floats ? seconds(machine, 'fp16') : seconds(here, 'fp32'), true);
    });
}

/** Values in [-1, 1]. */
function ramp(count: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => (i % 255) / 127 - 1);
}
