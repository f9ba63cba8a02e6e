// Cholesky from the last column to the first, H = R R' with R upper triangular, by tiles of panels. See ref/tiles.ref.ts.
import { cell, COLUMN, PANEL, quadOf, subtractQuad, TILE } from './panels';

/** panel[column] minus the products with the columns between it and the end of its quad; 4 of the 8 rows. */
@inline
function withoutQuad(panel: usize, diagonal: usize, column: i32, end: i32): v128 {
  let x = v128.load(panel + <usize>column * COLUMN);
  for (let k = column + 1; k < end; k++) {
    x = f32x4.sub(x, f32x4.mul(v128.load(panel + <usize>k * COLUMN), v128.load32_splat(cell(diagonal, column, k))));
  }
  return x;
}

/** Columns q .. q + 3 of a panel less the products with all columns behind them. */
@inline
function subtractLater(panel: usize, diagonal: usize, q: i32): void {
  const behind = <usize>(q + 4) * COLUMN;
  const at = panel + <usize>q * COLUMN;
  subtractQuad(panel + behind, quadOf(diagonal, q) + behind, TILE - 4 - q, at, at);
}

/** Columns q .. q + 3 of X in X R' = C; the columns behind them are done. */
function solveQuad(panel: usize, diagonal: usize, q: i32): void {
  subtractLater(panel, diagonal, q);
  for (let column = q + 3; column >= q; column--) {
    const root = v128.load32_splat(cell(diagonal, column, column));
    const at = panel + <usize>column * COLUMN;
    v128.store(at, f32x4.div(withoutQuad(panel, diagonal, column, q + 4), root));
    v128.store(at, f32x4.div(withoutQuad(panel + 16, diagonal, column, q + 4), root), 16);
  }
}

/** The same for the panel that holds the rows q .. q + 3 themselves; false where a pivot is not positive. */
function factorQuad(panel: usize, diagonal: usize, q: i32): bool {
  subtractLater(panel, diagonal, q);
  for (let column = q + 3; column >= q; column--) {
    const at = panel + <usize>column * COLUMN;
    v128.store(at, withoutQuad(panel, diagonal, column, q + 4));
    v128.store(at, withoutQuad(panel + 16, diagonal, column, q + 4), 16);
    const pivot = cell(diagonal, column, column);
    const square = load<f32>(pivot);
    if (!(square > 0) || square == Infinity) return false;
    const root = f32x4.splat(Mathf.sqrt(square));
    v128.store(at, f32x4.div(v128.load(at), root));
    v128.store(at, f32x4.div(v128.load(at, 16), root), 16);
    v128.store32_lane(pivot, root, 0);
  }
  return true;
}

/**
 * tile: H_jj less finished products, becomes R_jj; below its diagonal is nothing of use. Returns -1, or the first column of the quad
 * that has no positive pivot.
 */
export function factor_tile(tile: usize): i32 {
  for (let q = TILE - 4; q >= 0; q -= 4) {
    const own = q >> 3;
    if (!factorQuad(tile + <usize>own * PANEL, tile, q)) return q;
    for (let panel: i32 = 0; panel < own; panel++) solveQuad(tile + <usize>panel * PANEL, tile, q);
  }
  return -1;
}

/** rows: `panels` panels of C, becomes X of X R_jj' = C: H_ij less finished products becomes R_ij. diagonal: tile R_jj */
export function solve_tile(rows: usize, diagonal: usize, panels: i32): void {
  for (let panel: i32 = 0; panel < panels; panel++, rows += PANEL) {
    for (let q = TILE - 4; q >= 0; q -= 4) solveQuad(rows, diagonal, q);
  }
}

/**
 * tile: R_ij, panels of rows -> out: R_ij / diag(R_jj), panels of columns: f32[16][row][8 columns]. Where i = j (`corner`) what
 * lies below the diagonal becomes 0 and the diagonal 1. roots: f32[128] = diag(R_jj)
 */
export function unit_tile(tile: usize, roots: usize, corner: i32, out: usize): void {
  for (let column: i32 = 0; column < TILE; column++) {
    const root = load<f32>(roots + (<usize>column << 2));
    for (let row: i32 = 0; row < TILE; row++) {
      let x = load<f32>(cell(tile, row, column)) / root;
      if (corner && row >= column) x = row == column ? 1 : 0;
      store<f32>(cell(out, column, row), x);
    }
  }
}
