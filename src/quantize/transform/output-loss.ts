/** What errors of a weight cost in the layer's output: e H e' with H = E[x x'], the mean square over the tokens that H was made of. */
import { RecipeError } from '../../errors.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import { TILE, TILE_SIZE, tileOffset, tilesOf } from '../rounding/factor.ts';
import { RowPanels } from '../rounding/row-panels.ts';

/** Rows that are in the kernels' memory at a time. */
const ROWS = 256;

/**
 * e H e' row by row, where only pairs of columns of one group count. H is kept as upper tiles, doubled off the diagonal, in the layout
 * of the kernel of error feedback: half of the products are enough, and they run in SIMD.
 */
export class OutputLoss {
  readonly cols: number;
  readonly group: number;
  readonly #kernels: Kernels;
  readonly #tiles: Float32Array;
  /** The first tile row that meets tile column j. */
  readonly #first: number[];

  /**
   * @param hessian (1 / n) sum of x x', [cols, cols]
   * @param group columns of one group; cols for the loss of whole rows
   * @throws RecipeError where sizes do not fit
   */
  constructor(kernels: Kernels, hessian: Float32Array, cols: number, group = cols) {
    if (hessian.length !== cols * cols || !(group >= 1) || cols % group !== 0) {
      throw new RecipeError({
        what: 'a Hessian does not fit the columns or their groups',
        value: hessian.length,
        limit: `${cols} x ${cols}, groups of ${group}`,
      });
    }
    this.#kernels = kernels;
    this.cols = cols;
    this.group = group;
    const count = tilesOf(cols);
    this.#first = Array.from({ length: count }, (_, j) => Math.floor((Math.floor((j * TILE) / group) * group) / TILE));
    this.#tiles = upperTiles(hessian, cols, group, count, this.#first);
  }

  /** error: w - ŵ, [rows, cols] -> [rows, cols / group], in f64 from sums in f32 */
  of(error: Float32Array): Float64Array {
    const { cols, group } = this;
    const groups = cols / group;
    const rows = error.length / cols;
    const losses = new Float64Array(rows * groups);
    for (let from = 0; from < rows; from += ROWS) {
      const to = Math.min(rows, from + ROWS);
      this.#rows(error.subarray(from * cols, to * cols), losses.subarray(from * groups, to * groups));
    }
    return losses;
  }

  /** The sum over all rows and groups. */
  total(error: Float32Array): number {
    return this.of(error).reduce((sum, loss) => sum + loss, 0);
  }

  #rows(error: Float32Array, losses: Float64Array): void {
    const { cols, group } = this;
    const kernels = this.#kernels;
    const groups = cols / group;
    const rows = error.length / cols;
    const mark = kernels.mark();
    try {
      const panels = new RowPanels(kernels, rows, cols);
      const sums = new RowPanels(kernels, rows, TILE);
      const held = kernels.alloc(4 * TILE_SIZE);
      const cells = panels.cells();
      for (let row = 0, at = 0; row < rows; row++) for (let k = 0; k < cols; k++, at++) cells[panels.index(row, k)] = error[at]!;
      const tile = kernels.f32(held, TILE_SIZE);
      const products = sums.cells();
      for (let j = 0; j < panels.tiles; j++) {
        products.fill(0);
        for (let i = this.#first[j]!; i <= j; i++) {
          const at = tileOffset(panels.tiles, i, j);
          tile.set(this.#tiles.subarray(at, at + TILE_SIZE));
          sums.subtract(0, panels.tile(i), held);
        }
        const end = Math.min(cols, (j + 1) * TILE);
        for (let row = 0; row < rows; row++) {
          for (let k = j * TILE; k < end; ) {
            const stop = Math.min(end, (Math.floor(k / group) + 1) * group);
            const g = row * groups + Math.floor(k / group);
            let sum = 0;
            for (let at = panels.index(row, k), other = sums.index(row, k - j * TILE); k < stop; k++, at += 8, other += 8)
              sum -= cells[at]! * products[other]!;
            losses[g]! += sum;
          }
        }
      }
    } finally {
      kernels.reset(mark);
    }
  }
}

/** Tiles (i, j >= i) as [16][128 rows][8 columns]; those that hold no pair of one group stay 0. */
function upperTiles(hessian: Float32Array, cols: number, group: number, count: number, first: readonly number[]): Float32Array {
  const tiles = new Float32Array(tileOffset(count, count - 1, count - 1) + TILE_SIZE);
  for (let j = 0; j < count; j++) {
    for (let i = first[j]!; i <= j; i++) {
      const at = tileOffset(count, i, j);
      const factor = i === j ? 1 : 2;
      for (let k = i * TILE; k < Math.min(cols, (i + 1) * TILE); k++) {
        const start = Math.max(j * TILE, Math.floor(k / group) * group);
        const end = Math.min(cols, (j + 1) * TILE, (Math.floor(k / group) + 1) * group);
        for (let c = start; c < end; c++) {
          const column = c - j * TILE;
          tiles[at + (column >> 3) * 8 * TILE + (k - i * TILE) * 8 + (column & 7)] = factor * hessian[k * cols + c]!;
        }
      }
    }
  }
  return tiles;
}

/** H of some inputs: (1 / n) sum of x x' [cols, cols], summed in f64. samples: [n, cols] */
export function hessianOf(samples: Float32Array, cols: number): Float32Array {
  const tokens = samples.length / cols;
  const sums = new Float64Array(cols * cols);
  for (let at = 0; at < samples.length; at += cols) {
    for (let i = 0; i < cols; i++) {
      const x = samples[at + i]!;
      if (x !== 0) for (let j = 0; j <= i; j++) sums[i * cols + j]! += x * samples[at + j]!;
    }
  }
  const out = new Float32Array(cols * cols);
  for (let i = 0; i < cols; i++)
    for (let j = 0; j <= i; j++) out[i * cols + j] = out[j * cols + i] = sums[i * cols + j]! / tokens;
  return out;
}
