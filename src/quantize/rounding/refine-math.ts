/**
 * The steps of refinement that cost rows * cols², behind one face: refine-math.ref.ts has them slow and obvious, `refineMath` runs
 * them in the kernels. Both do the same operations in the same order, but for sums over pairs of groups, which the kernels take in
 * f32. What a row becomes does not depend on the rows beside it.
 */
import type { Kernels } from '../../kernels/index.ts';
import type { LeveledRows, SymmetricProduct } from './leveled-rows.ts';
import { slowMath } from './refine-math.ref.ts';
import { refitLevels } from './refit.ts';
import { moveMinima, multiplied, type SingleScales } from './single-scales.ts';
import type { LevelStorage } from './stored-levels.ts';

/** What descent keeps up to date. */
export interface DescentState {
  rows: LeveledRows;
  /** H (ŵ - w), [rows, cols] */
  gradient: Float32Array;
  /** ŵ, [rows, cols] */
  decoded: Float32Array;
}

export interface RefineMath {
  product: SymmetricProduct;
  /**
   * Sweeps of coordinate descent over all columns, until one changes nothing; changes codes and state, gives the number of codes
   * changed.
   */
  descend(state: DescentState, hessian: Float32Array, sweeps: number): number;
  /** Refits the levels of all rows to their codes, in place; the state is of the levels before. */
  refit(state: DescentState, hessian: Float32Array, storage: LevelStorage): void;
  /** One pass over the scales, each given all others; changes them (and minima with them) and the state, gives how many. */
  stepScales(state: DescentState, hessian: Float32Array, scales: SingleScales): number;
}

/** Bytes of Hessian rows that lie in the kernels' memory at a time. */
const panelBytes = 2 ** 20;

/** @param product how H is multiplied: GPTQ's matrix kernel, where there is one */
export function refineMath(kernels: Kernels, product: SymmetricProduct): RefineMath {
  return {
    product,
    descend: (state, hessian, sweeps) => inArena(kernels, () => descendColumns(kernels, state, hessian, sweeps)),
    // The kernel takes four columns at a time.
    refit: (state, hessian, storage) =>
      state.rows.group % 4
        ? slowMath.refit(state, hessian, storage)
        : inArena(kernels, () => refitLevels(kernels, state, hessian, storage)),
    stepScales: (state, hessian, scales) => inArena(kernels, () => stepScales(kernels, state, hessian, scales)),
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

function descendColumns(
  kernels: Kernels,
  { rows: quantized, gradient, decoded }: DescentState,
  hessian: Float32Array,
  sweeps: number,
): number {
  const { rows, cols, group, codes, values, entries, scales, mins, kept } = quantized;
  const [gradientAt, decodedAt, codesAt] = [gradient, decoded, codes].map((data) => kernels.put(data)) as [
    number,
    number,
    number,
  ];
  const [valuesAt, scalesAt, minsAt] = [kernels.put(values), kernels.put(scales), mins ? kernels.put(mins) : 0];
  const keptAt = kept ? kernels.put(kept.mask) : 0;
  const height = Math.max(1, Math.min(cols, Math.floor(panelBytes / (4 * cols))));
  const panel = kernels.alloc(height * cols * 4);
  let changed = 0;
  for (let sweep = 0; sweep < sweeps; sweep++) {
    const before = changed;
    for (let first = 0; first < cols; first += height) {
      const count = Math.min(height, cols - first);
      kernels.f32(panel, count * cols).set(hessian.subarray(first * cols, (first + count) * cols));
      changed += kernels.call(
        'descend_columns',
        ...[gradientAt, decodedAt, codesAt, panel, first, count, rows, cols, group],
        ...[valuesAt, 4 * (entries ?? 0), (entries ?? values.length) - 1, scalesAt, minsAt, keptAt],
      );
    }
    if (changed === before) break;
  }
  gradient.set(kernels.f32(gradientAt, gradient.length));
  decoded.set(kernels.f32(decodedAt, decoded.length));
  codes.set(kernels.bytes(codesAt, codes.length));
  return changed;
}

/** How kernels name types. */
const roundings = { f32: 0, f16: 1, bf16: 2 };

function stepScales(kernels: Kernels, state: DescentState, hessian: Float32Array, storage: SingleScales): number {
  const { rows: quantized, gradient, decoded } = state;
  const { rows, cols, group, scales } = quantized;
  const [gradientAt, decodedAt] = [kernels.put(gradient), kernels.put(decoded)];
  const [x, scalesAt] = [kernels.put(multiplied(quantized)), kernels.put(scales)];
  const listed = 'list' in storage;
  const list = listed
    ? [kernels.put(storage.list), storage.list.length > storage.count ? 4 * storage.count : 0, storage.count, 0]
    : [0, 0, 0, roundings[storage.unit]];
  const panel = kernels.alloc(4 * group * cols);
  let changed = 0;
  for (let g = 0; g < cols / group; g++) {
    kernels.f32(panel, group * cols).set(hessian.subarray(g * group * cols, (g + 1) * group * cols));
    changed += kernels.call('step_scales', gradientAt, decodedAt, x, panel, rows, cols, group, g, ...list, scalesAt);
  }
  gradient.set(kernels.f32(gradientAt, gradient.length));
  decoded.set(kernels.f32(decodedAt, decoded.length));
  scales.set(kernels.f32(scalesAt, scales.length));
  moveMinima(quantized);
  return changed;
}
