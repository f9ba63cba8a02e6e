import type { Kernels } from '../../kernels/kernels.ts';
import { TILE, tilesOf } from './factor.ts';

/** Rows side by side. */
const ROWS = 8;
const PANEL_SIZE = TILE * ROWS;

/**
 * Rows in the kernels' memory as the products of tiles take them, f32[tiles][panels][128][8]: zeros beyond the rows and columns.
 * Whoever makes it resets the arena afterwards.
 */
export class RowPanels {
  readonly rows: number;
  readonly cols: number;
  readonly tiles: number;
  /** Of one tile. */
  readonly panels: number;
  readonly #kernels: Kernels;
  readonly #at: number;

  constructor(kernels: Kernels, rows: number, cols: number) {
    this.#kernels = kernels;
    this.rows = rows;
    this.cols = cols;
    this.tiles = tilesOf(cols);
    this.panels = Math.ceil(rows / ROWS);
    this.#at = kernels.alloc(4 * this.#size);
    this.cells().fill(0);
  }

  get #size(): number {
    return this.tiles * this.panels * PANEL_SIZE;
  }

  /** A view: the arena may move when it grows. */
  cells(): Float32Array {
    return this.#kernels.f32(this.#at, this.#size);
  }

  /** The cells of tile j, f32[panels][128][8]; a view. */
  tileCells(j: number): Float32Array {
    const size = this.panels * PANEL_SIZE;
    return this.cells().subarray(j * size, (j + 1) * size);
  }

  /** Where column k of a row lies among the cells. */
  index(row: number, k: number): number {
    return ((k >> 7) * this.panels + (row >> 3)) * PANEL_SIZE + (k & 127) * ROWS + (row & 7);
  }

  /** Address of tile j. */
  tile(j: number): number {
    return this.#at + 4 * j * this.panels * PANEL_SIZE;
  }

  /** Tile j loses `factor` times b (a tile of panels in the arena), all of these rows. */
  subtract(j: number, factor: number, b: number): void {
    this.#kernels.call('subtract_product', factor, 4 * PANEL_SIZE, b, this.tile(j), 4 * PANEL_SIZE, this.panels);
  }
}
