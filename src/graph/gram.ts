/** Sums over tokens of what linear layers read: products for Hessians, and reductions of each column. Shapes: x [N, in]. */
import { GraphBuilder } from './builder.ts';
import type { Graph } from './ir.ts';

/**
 * How many rows of x'x are computed at a time: at most 2048, 64 MiB where x has 8192 columns, and about a quarter of all, so that
 * leaving out what lies below the diagonal saves work.
 */
export function gramRows(width: number): number {
  const step = 256;
  return Math.min(2048, step * Math.max(1, Math.round(width / (4 * step))));
}

/** Rows [from, to) of x'x from the diagonal on: `gram` = x[:, from:to]' x[:, from:], [to - from, in - from]. */
export function buildGram(): Graph {
  const b = new GraphBuilder('gram');
  const x = b.input('x', 'f32', ['N', 'in']);
  const from = b.input('from', 'i64', [1]);
  const to = b.input('to', 'i64', [1]);
  const [rows, rest] = [b.slice(x, 1, from, to), b.slice(x, 1, from, Number.MAX_SAFE_INTEGER)];
  b.output('gram', b.node('Gemm', [rows, rest], { attributes: { transA: { int: 1 } } }), 'f32', ['rows', 'columns']);
  return b.build();
}

/**
 * Rows [from, to) of (a - b)'x, added to what `sum` holds of them: how far one stream of values is from another, as the input of a
 * linear sees it. a, b [N, m] -> `cross` [to - from, in].
 */
export function buildCross(): Graph {
  const b = new GraphBuilder('cross');
  const difference = b.node('Sub', [b.input('a', 'f32', ['N', 'm']), b.input('b', 'f32', ['N', 'm'])]);
  const x = b.input('x', 'f32', ['N', 'in']);
  const from = b.input('from', 'i64', [1]);
  const to = b.input('to', 'i64', [1]);
  const sum = b.input('sum', 'f32', ['rows', 'in']);
  const product = b.node('Gemm', [b.slice(difference, 1, from, to), x, sum], { attributes: { transA: { int: 1 } } });
  b.output('cross', product, 'f32', ['rows', 'in']);
  return b.build();
}

/** What the graph of `buildReductions` can give of each column, [in]. */
export const reductions = {
  min: (b, x) => b.node('ReduceMin', [x, b.ints(0)], perColumn),
  max: (b, x) => b.node('ReduceMax', [x, b.ints(0)], perColumn),
  // ReduceL1 and ReduceSumSquare say the same and are ten times slower along the first axis.
  abssum: (b, x) => b.node('ReduceSum', [b.node('Abs', [x]), b.ints(0)], perColumn),
  squaresum: (b, x) => b.node('ReduceSum', [b.mul(x, x), b.ints(0)], perColumn),
} as const satisfies Record<string, (b: GraphBuilder, x: string) => string>;
export type Reduction = keyof typeof reductions;

const perColumn = { attributes: { keepdims: { int: 0 } } };

/** Input: `x`. Outputs: the reductions under their names. */
export function buildReductions(wanted: Iterable<Reduction>): Graph {
  const b = new GraphBuilder('reductions');
  const x = b.input('x', 'f32', ['N', 'in']);
  for (const name of wanted) b.output(name, reductions[name](b, x), 'f32', ['in']);
  return b.build();
}
