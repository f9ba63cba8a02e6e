// Tiles of 128 x 128 as panels: eight rows lie side by side, f32[128][8], and a tile is 16 of them. See ref/tiles.ref.ts.

export const TILE: i32 = 128;
/** Bytes from one column of a panel to the next. */
export const COLUMN: usize = 32;
export const PANEL: usize = 4096;

/**
 * out[4][8] = c[4][8] - sum over k of a[k][8] b[k][4], where b has 8 values a row too, of which 4 are taken; n a multiple of 4.
 * The sum is taken by itself, in ascending k: each cell has one order of additions, whatever lies beside it.
 */
export function subtractQuad(a: usize, b: usize, n: i32, c: usize, out: usize): void {
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  for (const end = a + (<usize>n << 5); a < end; a += 128, b += 128) {
    let low = v128.load(a), high = v128.load(a, 16), factor = v128.load32_splat(b);
    s0 = f32x4.add(s0, f32x4.mul(low, factor));
    s1 = f32x4.add(s1, f32x4.mul(high, factor));
    factor = v128.load32_splat(b, 4);
    s2 = f32x4.add(s2, f32x4.mul(low, factor));
    s3 = f32x4.add(s3, f32x4.mul(high, factor));
    factor = v128.load32_splat(b, 8);
    s4 = f32x4.add(s4, f32x4.mul(low, factor));
    s5 = f32x4.add(s5, f32x4.mul(high, factor));
    factor = v128.load32_splat(b, 12);
    s6 = f32x4.add(s6, f32x4.mul(low, factor));
    s7 = f32x4.add(s7, f32x4.mul(high, factor));

    low = v128.load(a, 32), high = v128.load(a, 48), factor = v128.load32_splat(b, 32);
    s0 = f32x4.add(s0, f32x4.mul(low, factor));
    s1 = f32x4.add(s1, f32x4.mul(high, factor));
    factor = v128.load32_splat(b, 36);
    s2 = f32x4.add(s2, f32x4.mul(low, factor));
    s3 = f32x4.add(s3, f32x4.mul(high, factor));
    factor = v128.load32_splat(b, 40);
    s4 = f32x4.add(s4, f32x4.mul(low, factor));
    s5 = f32x4.add(s5, f32x4.mul(high, factor));
    factor = v128.load32_splat(b, 44);
    s6 = f32x4.add(s6, f32x4.mul(low, factor));
    s7 = f32x4.add(s7, f32x4.mul(high, factor));

    low = v128.load(a, 64), high = v128.load(a, 80), factor = v128.load32_splat(b, 64);
    s0 = f32x4.add(s0, f32x4.mul(low, factor));
    s1 = f32x4.add(s1, f32x4.mul(high, factor));
    factor = v128.load32_splat(b, 68);
    s2 = f32x4.add(s2, f32x4.mul(low, factor));
    s3 = f32x4.add(s3, f32x4.mul(high, factor));
    factor = v128.load32_splat(b, 72);
    s4 = f32x4.add(s4, f32x4.mul(low, factor));
    s5 = f32x4.add(s5, f32x4.mul(high, factor));
    factor = v128.load32_splat(b, 76);
    s6 = f32x4.add(s6, f32x4.mul(low, factor));
    s7 = f32x4.add(s7, f32x4.mul(high, factor));

    low = v128.load(a, 96), high = v128.load(a, 112), factor = v128.load32_splat(b, 96);
    s0 = f32x4.add(s0, f32x4.mul(low, factor));
    s1 = f32x4.add(s1, f32x4.mul(high, factor));
    factor = v128.load32_splat(b, 100);
    s2 = f32x4.add(s2, f32x4.mul(low, factor));
    s3 = f32x4.add(s3, f32x4.mul(high, factor));
    factor = v128.load32_splat(b, 104);
    s4 = f32x4.add(s4, f32x4.mul(low, factor));
    s5 = f32x4.add(s5, f32x4.mul(high, factor));
    factor = v128.load32_splat(b, 108);
    s6 = f32x4.add(s6, f32x4.mul(low, factor));
    s7 = f32x4.add(s7, f32x4.mul(high, factor));
  }
  v128.store(out, f32x4.sub(v128.load(c), s0));
  v128.store(out, f32x4.sub(v128.load(c, 16), s1), 16);
  v128.store(out, f32x4.sub(v128.load(c, 32), s2), 32);
  v128.store(out, f32x4.sub(v128.load(c, 48), s3), 48);
  v128.store(out, f32x4.sub(v128.load(c, 64), s4), 64);
  v128.store(out, f32x4.sub(v128.load(c, 80), s5), 80);
  v128.store(out, f32x4.sub(v128.load(c, 96), s6), 96);
  v128.store(out, f32x4.sub(v128.load(c, 112), s7), 112);
}

/** Where the four columns from `column` on start in a tile of panels. */
@inline
export function quadOf(tile: usize, column: i32): usize {
  return tile + <usize>(column >> 3) * PANEL + (<usize>(column & 4) << 2);
}

/** Address of a cell of a tile. */
@inline
export function cell(tile: usize, row: i32, column: i32): usize {
  return tile + <usize>(row >> 3) * PANEL + <usize>column * COLUMN + (<usize>(row & 7) << 2);
}
