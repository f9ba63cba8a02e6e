// The product in which nearly all the time of error feedback goes.
import { COLUMN, quadOf, subtractQuad, TILE } from './panels';

/**
 * c -= a b for `panels` panels of 8 rows: a: f32[128][8] every aStep bytes, b: tile [16][128][8], c: f32[128][8] every cStep bytes
 */
export function subtract_product(a: usize, aStep: i32, b: usize, c: usize, cStep: i32, panels: i32): void {
  for (let panel: i32 = 0; panel < panels; panel++, a += aStep, c += cStep) {
    for (let column: i32 = 0; column < TILE; column += 4) {
      const at = c + <usize>column * COLUMN;
      subtractQuad(a, quadOf(b, column), TILE, at, at);
    }
  }
}
