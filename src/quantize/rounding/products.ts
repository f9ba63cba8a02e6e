/** Products of matrices in the kernel of error feedback. */
import { RecipeError } from '../../errors.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import { TILE, TILE_SIZE } from './factor.ts';
import type { SymmetricProduct } from './leveled-rows.ts';
import { RowPanels } from './row-panels.ts';

/**
 * a b, [m, n]. Each cell adds its products in one order, by tiles of 128 in ascending k: the bits of a row do not depend on the
 * rows beside it. Only 128 rows of b lie in the kernels' memory at a time: it may be large and shared between threads.
 * @param a [m, k]; not a view of the arena, which may grow
 * @param b [k, n]
 * @throws RecipeError when arrays do not have these sizes
 */
export function matrixProduct(kernels: Kernels, a: Float32Array, b: Float32Array, k: number, n: number): Float32Array {
  const rows = a.length / k;
  if (!Number.isInteger(rows) || b.length !== k * n) {
    throw new RecipeError({
      what: 'matrices do not fit each other',
      value: `${a.length} and ${b.length} values`,
      limit: `[m, ${k}] and [${k}, ${n}]`,
    });
  }
  const out = new Float32Array(rows * n);
  const mark = kernels.mark();
  try {
    const left = new RowPanels(kernels, rows, TILE);
    const sums = new RowPanels(kernels, rows, n);
    // The last tile of a row reads on into the next one: what that makes lies beyond the columns.
    const stripe = kernels.alloc(4 * TILE * (n + TILE));
    const right = kernels.alloc(4 * TILE_SIZE);
    for (let from = 0; from < k; from += TILE) {
      const to = Math.min(from + TILE, k);
      loadNegative(left, a, from, to, k);
      const held = kernels.f32(stripe, TILE * (n + TILE));
      held.set(b.subarray(from * n, to * n));
      held.fill(0, (to - from) * n);
      for (let j = 0; j < sums.tiles; j++) {
        kernels.call('pack_tile', stripe + 4 * j * TILE, 4 * n, right);
        sums.subtract(j, left.tile(0), right);
      }
    }
    const cells = sums.cells();
    for (let row = 0, at = 0; row < rows; row++) for (let j = 0; j < n; j++, at++) out[at] = cells[sums.index(row, j)]!;
  } finally {
    kernels.reset(mark);
  }
  return out;
}

/** Minus the columns [from, to) of a [m, k], as the kernel subtracts; zeros beyond them. */
function loadNegative(left: RowPanels, a: Float32Array, from: number, to: number, k: number): void {
  const cells = left.cells();
  if (to - from < TILE) cells.fill(0);
  for (let row = 0; row < left.rows; row++) {
    const at = row * k + from;
    for (let i = 0; i < to - from; i++) cells[left.index(row, i)] = -a[at + i]!;
  }
}

/** `matrixProduct` as refinement asks for it. */
export function symmetricProductOf(kernels: Kernels): SymmetricProduct {
  return (a, h, k) => matrixProduct(kernels, a, h, k, k);
}
