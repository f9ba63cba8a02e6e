import type { Kernels } from '../../kernels/kernels.ts';
import { type Factor, TILE, TILE_SIZE, tileOffset, tilesOf } from './factor.ts';

const ROWS = 8;
const PANEL_BYTES = 32 * TILE;

/**
 * error (H + damp) error' of each row: what the rows' outputs lose, for any way of rounding. Sums of squares are in f64.
 * @param error w - ŵ, [rows, cols]
 */
export function feedbackLoss(kernels: Kernels, error: Float32Array, { cols, order, matrix, roots }: Factor): Float64Array {
  const rows = error.length / cols;
  const tiles = tilesOf(cols);
  const panels = Math.ceil(rows / ROWS);
  const losses = new Float64Array(rows);
  const mark = kernels.mark();
  try {
    const [x, s, product] = [
      kernels.alloc(tiles * panels * PANEL_BYTES),
      kernels.alloc(4 * TILE_SIZE),
      kernels.alloc(panels * PANEL_BYTES),
    ];
    const cells = kernels.f32(x, tiles * panels * TILE * ROWS).fill(0); // [panels][columns][8]
    for (let row = 0; row < rows; row++) {
      const at = Math.floor(row / ROWS) * tiles * TILE * ROWS + (row % ROWS);
      for (let k = 0; k < cols; k++) cells[at + k * ROWS] = error[row * cols + order[k]!]!;
    }
    const tile = kernels.f32(s, TILE_SIZE);
    const sums = kernels.f32(product, panels * TILE * ROWS); // [panels][128][8]
    for (let j = 0; j < tiles; j++) {
      sums.fill(0);
      for (let i = 0; i <= j; i++) {
        const at = tileOffset(tiles, i, j);
        tile.set(matrix.subarray(at, at + TILE_SIZE));
        kernels.call('subtract_product', x + i * PANEL_BYTES, tiles * PANEL_BYTES, s, product, PANEL_BYTES, panels);
      }
      for (let row = 0; row < rows; row++) {
        const at = Math.floor(row / ROWS) * TILE * ROWS + (row % ROWS);
        for (let k = 0; k < TILE; k++) losses[row]! += (sums[at + k * ROWS]! * roots[j * TILE + k]!) ** 2;
      }
    }
  } finally {
    kernels.reset(mark);
  }
  return losses;
}
