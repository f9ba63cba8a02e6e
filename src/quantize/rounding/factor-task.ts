/** The steps of a blocked Cholesky factorization, as tasks that any thread can do. Each works on runs of tiles of one row. */
import type { Kernels } from '../../kernels/kernels.ts';
import { TILE, TILE_SIZE } from './factor.ts';

export type FactorTask =
  /** row: tiles (j, j..). Tile (j, j) becomes R_jj. */
  | { step: 'diagonal'; row: Float32Array }
  /** rows: tiles (i, j..) of some rows i < j; row: tiles (j, j..). Tiles (i, j) become R_ij. */
  | { step: 'solve'; rows: Float32Array[]; row: Float32Array }
  /** row: tiles (i, i..), roots: diag(R) from there on. R becomes S = R / diag(R) in panels of columns. */
  | { step: 'unit'; row: Float32Array; roots: Float32Array };

export interface FactorResult {
  /** diagonal: diag(R_jj), [128]; absent where the matrix is not positive definite. */
  roots?: Float32Array;
  /** The tiles that changed, where the task's arrays were copies. */
  tiles?: Float32Array[];
}

const TILE_BYTES = 4 * TILE_SIZE;
/** Bytes of eight rows of a tile. */
const PANEL_BYTES = 32 * TILE;

/** Does one step in place; of arrays that are not shared it also returns what changed. The order of additions is fixed. */
export function factorTask(task: FactorTask, kernels: Kernels): FactorResult {
  const mark = kernels.mark();
  try {
    switch (task.step) {
      case 'diagonal':
        return diagonal(task.row, kernels);
      case 'solve':
        return solve(task.rows, task.row, kernels);
      case 'unit':
        return unit(task.row, task.roots, kernels);
    }
  } finally {
    kernels.reset(mark);
  }
}

function diagonal(row: Float32Array, kernels: Kernels): FactorResult {
  const [c, a] = [kernels.alloc(TILE_BYTES), kernels.alloc(TILE_BYTES)];
  load(kernels, c, row, 0);
  for (let k = 1; k < row.length / TILE_SIZE; k++) {
    load(kernels, a, row, k);
    subtract(kernels, a, a, c);
  }
  if (kernels.call('factor_tile', c) >= 0) return {};
  const roots = Float32Array.from({ length: TILE }, (_, i) => kernels.f32(c, TILE_SIZE)[(i >> 3) * TILE * 8 + i * 8 + (i & 7)]!);
  return { roots, ...stored(kernels, c, [row]) };
}

function solve(rows: Float32Array[], row: Float32Array, kernels: Kernels): FactorResult {
  const [a, b] = [kernels.alloc(TILE_BYTES), kernels.alloc(TILE_BYTES)];
  const c = kernels.alloc(rows.length * TILE_BYTES);
  for (const [i, tiles] of rows.entries()) load(kernels, c + i * TILE_BYTES, tiles, 0);
  for (let k = 1; k < row.length / TILE_SIZE; k++) {
    load(kernels, b, row, k);
    for (const [i, tiles] of rows.entries()) {
      load(kernels, a, tiles, k);
      subtract(kernels, a, b, c + i * TILE_BYTES);
    }
  }
  load(kernels, b, row, 0);
  kernels.call('solve_tile', c, b, (rows.length * TILE) / 8);
  return stored(kernels, c, rows);
}

function unit(row: Float32Array, roots: Float32Array, kernels: Kernels): FactorResult {
  const [from, to, rootsAt] = [kernels.alloc(TILE_BYTES), kernels.alloc(TILE_BYTES), kernels.alloc(4 * TILE)];
  const changed: Float32Array[] = [];
  for (let k = 0; k < row.length / TILE_SIZE; k++) {
    load(kernels, from, row, k);
    kernels.f32(rootsAt, TILE).set(roots.subarray(k * TILE, (k + 1) * TILE));
    kernels.call('unit_tile', from, rootsAt, k === 0 ? 1 : 0, to);
    changed.push(...(stored(kernels, to, [row.subarray(k * TILE_SIZE)]).tiles ?? []));
  }
  return changed.length ? { tiles: changed } : {};
}

function load(kernels: Kernels, at: number, row: Float32Array, k: number): void {
  kernels.f32(at, TILE_SIZE).set(row.subarray(k * TILE_SIZE, (k + 1) * TILE_SIZE));
}

/** c -= a b' */
function subtract(kernels: Kernels, a: number, b: number, c: number): void {
  kernels.call('subtract_product', a, PANEL_BYTES, b, c, PANEL_BYTES, TILE / 8);
}

/** Writes tile after tile from `at` to the start of each row. */
function stored(kernels: Kernels, at: number, rows: Float32Array[]): FactorResult {
  const tiles = rows.map((row, i) => {
    const tile = kernels.f32(at + i * TILE_BYTES, TILE_SIZE);
    row.set(tile);
    return row.buffer instanceof ArrayBuffer ? tile.slice() : undefined;
  });
  const copies = tiles.filter((tile) => tile !== undefined);
  return copies.length ? { tiles: copies } : {};
}
