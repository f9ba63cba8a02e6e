/**
 * Tile operations of assembly/tile_product.ts and cholesky.ts, one value at a time on plain matrices [128, 128], row-major. Each
 * operation is rounded to f32, and sums go in the order of the kernels: later columns by themselves, then those of the quad.
 */
export const TILE = 128;
const round = Math.fround;

/** a: [128, 128] as panels [16][128 columns][8 rows]; transposed, panels of columns. */
export function toPanels(a: Float32Array, transposed = false): Float32Array {
  return a.map((_, at) => {
    const [panel, k, lane] = [at >> 10, (at >> 3) & 127, at & 7];
    const i = panel * 8 + lane;
    return transposed ? a[k * TILE + i]! : a[i * TILE + k]!;
  });
}

export function fromPanels(panels: Float32Array, transposed = false): Float32Array {
  const a = new Float32Array(panels.length);
  toPanels(
    Float32Array.from(panels, (_, i) => i),
    transposed,
  ).forEach((from, at) => {
    a[from] = panels[at]!;
  });
  return a;
}

/** sum over k in [from, to) of a(k) b(k), ascending. */
function dot(from: number, to: number, a: (k: number) => number, b: (k: number) => number): number {
  let sum = 0;
  for (let k = from; k < to; k++) sum = round(sum + round(a(k) * b(k)));
  return sum;
}

/** c - a b'. a, b, c: [128, 128] */
export function subtractProduct(a: Float32Array, b: Float32Array, c: Float32Array): Float32Array {
  return c.map((value, at) => {
    const [i, j] = [Math.floor(at / TILE) * TILE, (at % TILE) * TILE];
    return (
      value -
      dot(
        0,
        TILE,
        (k) => a[i + k]!,
        (k) => b[j + k]!,
      )
    );
  });
}

/** What of x[row] is left of column `column` of X R' = C, once the columns behind it are taken off. */
function remainder(x: Float32Array, r: Float32Array, row: number, column: number): number {
  const end = (column | 3) + 1; // of the quad
  const [i, j] = [row * TILE, column * TILE];
  let rest = round(
    x[i + column]! -
      dot(
        end,
        TILE,
        (k) => x[i + k]!,
        (k) => r[j + k]!,
      ),
  );
  for (let k = column + 1; k < end; k++) rest = round(rest - round(x[i + k]! * r[j + k]!));
  return rest;
}

/** X of X R' = C, R upper. */
export function solveTile(c: Float32Array, r: Float32Array): Float32Array {
  const x = c.slice();
  for (let column = TILE - 1; column >= 0; column--) {
    for (let row = 0; row < TILE; row++) x[row * TILE + column] = remainder(x, r, row, column) / r[column * TILE + column]!;
  }
  return x;
}

/** The upper R of R R' = C, zeros below; undefined where a pivot is not positive. */
export function factorTile(c: Float32Array): Float32Array | undefined {
  const r = c.map((value, at) => (at % TILE >= Math.floor(at / TILE) ? value : 0));
  for (let column = TILE - 1; column >= 0; column--) {
    const square = remainder(r, r, column, column);
    if (!(square > 0) || square === Number.POSITIVE_INFINITY) return undefined;
    const root = round(Math.sqrt(square));
    for (let row = 0; row < column; row++) r[row * TILE + column] = remainder(r, r, row, column) / root;
    r[column * TILE + column] = root;
  }
  return r;
}
