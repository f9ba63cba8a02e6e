// Tiles brought into the panels that subtract_product multiplies by. See ref/tiles.ref.ts.
import { cell, COLUMN, TILE } from './panels';

/** rows: f32[128][128], one every `stride` bytes -> out: panels of columns, f32[16][128 rows][8 columns] */
export function pack_tile(rows: usize, stride: usize, out: usize): void {
  for (let panel: i32 = 0; panel < TILE; panel += 8, rows += COLUMN) {
    let from = rows;
    for (let row: i32 = 0; row < TILE; row++, from += stride, out += COLUMN) {
      v128.store(out, v128.load(from));
      v128.store(out, v128.load(from, 16), 16);
    }
  }
}

/** tile: panels of columns, f32[16][128 rows][8 columns] -> out: panels of rows, f32[16][128 columns][8 rows] */
export function transpose_tile(tile: usize, out: usize): void {
  for (let column: i32 = 0; column < TILE; column += 4) {
    for (let row: i32 = 0; row < TILE; row += 4) {
      const from = cell(tile, column, row), to = cell(out, row, column);
      const a = v128.load(from), b = v128.load(from, 32), c = v128.load(from, 64), d = v128.load(from, 96);
      const abLow = v128.shuffle<i32>(a, b, 0, 4, 1, 5), abHigh = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
      const cdLow = v128.shuffle<i32>(c, d, 0, 4, 1, 5), cdHigh = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
      v128.store(to, v128.shuffle<i64>(abLow, cdLow, 0, 2));
      v128.store(to, v128.shuffle<i64>(abLow, cdLow, 1, 3), 32);
      v128.store(to, v128.shuffle<i64>(abHigh, cdHigh, 0, 2), 64);
      v128.store(to, v128.shuffle<i64>(abHigh, cdHigh, 1, 3), 96);
    }
  }
}
