/**
 * GPTQ as IST-DASLab's gptq.py does it (Frantar et al., arXiv 2210.17323, algorithm 1), in f64 and with the inverse: after each
 * column the weights that follow are changed. Slow; it is what the solver is compared with. Ranges are those that read weights
 * only.
 */
import { inComputeType } from '../group-scaler.ts';
import { rangeContext } from '../quantize-matrix.ts';
import { rangeOf, scaleOf } from '../range/registry.ts';
import type { GptqScheme } from './gptq-rows.ts';

export interface ReferenceResult {
  /** [rows, cols] */
  codes: Uint8Array;
  /** [rows, groups] */
  scales: Float32Array;
  zeros: Float32Array;
  /** [cols]: the group of each column, and the column that was quantized i-th. */
  groupOf: Int32Array;
  order: Int32Array;
  /** [rows, cols], in the columns' own order. */
  dequantized: Float64Array;
  /** Sum of ((t - ŵ) / U_kk)^2 */
  loss: number;
}

/** The upper Cholesky factor U of the inverse, H^-1 = U' U. h: [n, n] positive definite, row-major. */
export function inverseUpper(h: Float64Array, n: number): Float64Array {
  // With H = R R', R upper: U = R^-1, column by column by back substitution.
  const r = new Float64Array(n * n);
  for (let j = n - 1; j >= 0; j--) {
    for (let i = j; i >= 0; i--) {
      let sum = h[i * n + j]!;
      for (let k = j + 1; k < n; k++) sum -= r[i * n + k]! * r[j * n + k]!;
      r[i * n + j] = i === j ? Math.sqrt(sum) : sum / r[j * n + j]!;
    }
  }
  const u = new Float64Array(n * n);
  for (let j = 0; j < n; j++) {
    u[j * n + j] = 1 / r[j * n + j]!;
    for (let i = j - 1; i >= 0; i--) {
      let sum = 0;
      for (let k = i + 1; k <= j; k++) sum -= r[i * n + k]! * u[k * n + j]!;
      u[i * n + j] = sum / r[i * n + i]!;
    }
  }
  return u;
}

/** H with dead inputs repaired, damped and in processing order, and that order. hessian: [n, n] */
export function orderedHessian(hessian: ArrayLike<number>, n: number, { damp, order }: GptqScheme['rounding']) {
  const h = Float64Array.from(hessian);
  const dead = Array.from({ length: n }, (_, i) => h[i * n + i] === 0);
  for (let i = 0; i < n; i++) if (dead[i]) h[i * n + i] = 1;
  const diagonal = Array.from({ length: n }, (_, i) => h[i * n + i]!);
  const added = (damp * diagonal.reduce((a, b) => a + b, 0)) / n;
  const columns = Int32Array.from({ length: n }, (_, i) => i);
  if (order === 'activation') columns.sort((a, b) => diagonal[b]! - diagonal[a]!);
  const ordered = h.map((_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    return h[columns[i]! * n + columns[j]!]! + (i === j ? added : 0);
  });
  return { h: ordered, order: columns, dead };
}

/** w: [rows, cols], hessian: [cols, cols] */
export function gptqReference(w: Float32Array, cols: number, hessian: ArrayLike<number>, scheme: GptqScheme): ReferenceResult {
  const { rounding, granularity } = scheme;
  const rows = w.length / cols;
  const { h, order, dead } = orderedHessian(hessian, cols, rounding);
  const u = inverseUpper(h, cols);
  const size = typeof granularity === 'object' ? granularity.group : cols;
  const dynamic = typeof granularity === 'object' && rounding.groups === 'dynamic';
  const groups = cols / size;
  const groupAt = (k: number): number => Math.floor((dynamic ? k : order[k]!) / size);
  const groupOf = new Int32Array(cols);
  for (let k = 0; k < cols; k++) groupOf[order[k]!] = groupAt(k);

  const context = rangeContext(scheme);
  const range = rangeOf(scheme.range, scheme.symmetric);
  const { grid } = context;
  const result: ReferenceResult = {
    codes: new Uint8Array(w.length),
    scales: new Float32Array(rows * groups),
    zeros: new Float32Array(rows * groups),
    groupOf,
    order,
    dequantized: new Float64Array(w.length),
    loss: 0,
  };
  for (let row = 0; row < rows; row++) {
    const find = (values: Float32Array, group: number): void => {
      const run = inComputeType(values, context, new Float32Array(values.length), 'reference');
      const { scale, zero } = scaleOf(range, range.limits(run, 0, run.length, context), context);
      result.scales[row * groups + group] = context.cast(scale);
      result.zeros[row * groups + group] = zero;
    };
    const original = w.slice(row * cols, (row + 1) * cols);
    if (typeof granularity !== 'object') find(original, 0);
    for (let c = 0; c < cols; c++) if (dead[c]) original[c] = 0;
    if (typeof granularity === 'object' && !dynamic) {
      for (let group = 0; group < groups; group++) find(original.subarray(group * size, (group + 1) * size), group);
    }
    const x = Float64Array.from(order, (column) => original[column]!);
    for (let from = 0; from < cols; from += rounding.block) {
      const to = Math.min(from + rounding.block, cols);
      const errors: number[] = [];
      const block = x.slice(from, to);
      for (let k = from; k < to; k++) {
        // Groups are found in x, which holds the updates of finished blocks only.
        if (dynamic && k % size === 0) find(Float32Array.from(x.subarray(k, k + size)), groupAt(k));
        const level = row * groups + groupAt(k);
        const [scale, zero] = [result.scales[level]!, result.zeros[level]!];
        const target = block[k - from]!;
        const steps = target / scale;
        const nearest = steps - Math.floor(steps) === 0.5 ? 2 * Math.round(steps / 2) : Math.round(steps);
        const q = Math.max(grid.qMin, Math.min(nearest + zero, grid.qMax));
        const at = row * cols + order[k]!;
        result.codes[at] = q - grid.qMin;
        result.dequantized[at] = scale * (q - zero);
        const error = (target - scale * (q - zero)) / u[k * cols + k]!;
        for (let j = k; j < to; j++) block[j - from]! -= error * u[k * cols + j]!;
        errors.push(error);
        result.loss += error ** 2;
      }
      for (const [i, error] of errors.entries()) {
        for (let j = to; j < cols; j++) x[j]! -= error * u[(from + i) * cols + j]!;
      }
    }
  }
  return result;
}
