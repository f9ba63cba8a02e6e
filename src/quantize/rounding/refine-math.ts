/**
 * The steps of refinement that cost rows * cols², behind one face: refine-math.ref.ts has them slow and obvious, `refineMath` runs
 * them in the kernels. Both give the same codes from the same product; sums over groups differ by f32 rounding.
 */
import type { Kernels } from '../../kernels/index.ts';
import type { LeveledRows, SymmetricProduct } from './leveled-rows.ts';
import { slowMath } from './refine-math.ref.ts';

/** What a sweep over columns keeps up to date. */
export interface DescentState {
  rows: LeveledRows;
  /** H e, [rows, cols] */
  gradient: Float64Array;
  /** ŵ, [rows, cols] */
  decoded: Float32Array;
}

/**
 * For rows [from, to), sums of H over pairs of groups (g, h): scaled[r, g, h] = sum of x_i H_ij x_j for h <= g, and
 * plain[r, g, h] = sum of H_ij x_j for all h, where x are the values of the codes.
 */
export interface GroupSums {
  scaled: Float32Array | Float64Array;
  /** Only where the rows have minima. */
  plain?: Float32Array | Float64Array;
}

export interface RefineMath {
  product: SymmetricProduct;
  /** One sweep of coordinate descent over all columns; changes codes and state, gives the number of codes changed. */
  sweep(state: DescentState, hessian: Float32Array): number;
  groupSums(rows: LeveledRows, hessian: Float32Array, from: number, to: number): GroupSums;
}

/** Bytes of Hessian rows that lie in the kernels' memory at a time. */
const panelBytes = 2 ** 20;

/** @param product how H is multiplied: GPTQ's matrix kernel, where there is one */
export function refineMath(kernels: Kernels, product: SymmetricProduct): RefineMath {
  return {
    product,
    sweep: (state, hessian) => inArena(kernels, () => sweepColumns(kernels, state, hessian)),
    // The kernel adds four columns at a time.
    groupSums: (rows, hessian, from, to) =>
      rows.group % 4
        ? slowMath.groupSums(rows, hessian, from, to)
        : inArena(kernels, () => groupSums(kernels, rows, hessian, from, to)),
  };
}

function inArena<T>(kernels: Kernels, work: () => T): T {
  const mark = kernels.mark();
  try {
    return work();
  } finally {
    kernels.reset(mark);
  }
}

/** A copy in the kernels' memory; 0 for what is not there. */
function put(kernels: Kernels, data: Float32Array | Float64Array | Uint8Array | undefined): number {
  if (!data) return 0;
  const at = kernels.alloc(data.byteLength);
  kernels.bytes(at, data.byteLength).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return at;
}

function sweepColumns(kernels: Kernels, { rows: quantized, gradient, decoded }: DescentState, hessian: Float32Array): number {
  const { rows, cols, group, codes, values, scales, mins } = quantized;
  const [gradientAt, decodedAt, codesAt] = [gradient, decoded, codes].map((data) => put(kernels, data));
  const [valuesAt, scalesAt, minsAt] = [values, scales, mins].map((data) => put(kernels, data));
  const height = Math.max(1, Math.min(cols, Math.floor(panelBytes / (4 * cols))));
  const panel = kernels.alloc(height * cols * 4);
  let changed = 0;
  for (let first = 0; first < cols; first += height) {
    const count = Math.min(height, cols - first);
    kernels.f32(panel, count * cols).set(hessian.subarray(first * cols, (first + count) * cols));
    changed += kernels.call(
      'descend_columns',
      ...[gradientAt, decodedAt, codesAt, panel, first, count, rows, cols, group],
      ...[valuesAt, values.length - 1, scalesAt, minsAt],
    );
  }
  gradient.set(kernels.f64(gradientAt, gradient.length));
  decoded.set(kernels.f32(decodedAt, decoded.length));
  codes.set(kernels.bytes(codesAt, codes.length));
  return changed;
}

/** Rows that one call of the kernel sums: one a lane. */
const lanes = 4;

function groupSums(kernels: Kernels, rows: LeveledRows, hessian: Float32Array, from: number, to: number): GroupSums {
  const { cols, group, mins } = rows;
  const groups = cols / group;
  const batches = Math.ceil((to - from) / lanes);
  const scaled = new Float32Array((to - from) * groups * groups);
  const plain = mins ? new Float32Array(scaled.length) : undefined;
  const x = kernels.alloc(batches * lanes * cols * 4);
  const own = kernels.alloc(batches * lanes * cols * 4);
  spreadValues(rows, from, to, kernels.f32(x, batches * lanes * cols), kernels.f32(own, batches * lanes * cols));
  const panel = kernels.alloc(group * cols * 4);
  const [scaledAt, plainAt] = [kernels.alloc(groups * 16), kernels.alloc(groups * 16)];
  for (let g = 0; g < groups; g++) {
    kernels.f32(panel, group * cols).set(hessian.subarray(g * group * cols, (g + 1) * group * cols));
    // A minimum meets all scales; of scale with scale one half is enough.
    const last = mins ? groups : g + 1;
    for (let batch = 0; batch < batches; batch++) {
      const shift = batch * lanes * cols * 4;
      const ownAt = own + shift + g * group * lanes * 4;
      kernels.call('group_sums', panel, x + shift, ownAt, group, cols, last, scaledAt, mins ? plainAt : 0);
      const some = Math.min(lanes, to - from - batch * lanes);
      const place = (batch * lanes * groups + g) * groups;
      spreadLanes(kernels.f32(scaledAt, last * lanes), some, scaled, place, groups * groups);
      if (plain) spreadLanes(kernels.f32(plainAt, last * lanes), some, plain, place, groups * groups);
    }
  }
  return { scaled, ...(plain ? { plain } : {}) };
}

/** The values of codes as rows, and four rows a lane; lanes without a row are zero. */
function spreadValues({ cols, codes, values }: LeveledRows, from: number, to: number, x: Float32Array, own: Float32Array): void {
  x.fill(0);
  own.fill(0);
  for (let r = 0, at = from * cols; r < to - from; r++) {
    const batch = Math.floor(r / lanes) * lanes * cols;
    for (let c = 0; c < cols; c++, at++) {
      const value = values[codes[at]];
      x[r * cols + c] = value;
      own[batch + c * lanes + (r % lanes)] = value;
    }
  }
}

function spreadLanes(sums: Float32Array, some: number, out: Float32Array, place: number, stride: number): void {
  for (let lane = 0; lane < some; lane++)
    for (let from = lane, to = place + lane * stride; from < sums.length; from += lanes, to++) out[to] = sums[from];
}
