/**
 * How far a quantized tensor is from its original. Tiles of rows are measured anywhere and in any order; their f64 sums are added in
 * row order, so that a tensor cut into the same tiles gives the same figures whatever the number of threads.
 */
import { NumericError } from '../errors.ts';
import type { Kernels } from '../kernels/kernels.ts';

/** Sums over one tile, rows [from, from + rows) of a tensor. */
export interface TileErrors {
  from: number;
  rows: number;
  values: number;
  /** Sum of x^2 of the original, y^2 of the quantized values, (x - y)^2, x y; max |x - y|. */
  original: number;
  quantized: number;
  squaredError: number;
  product: number;
  maxError: number;
  /** Integer grids only. */
  grid?: GridErrors;
}

export interface GridErrors {
  /** Squared error of values inside the grid's range, and of values outside it. */
  rounding: number;
  clipping: number;
  /** Values outside the range. */
  clipped: number;
  /** How often each code occurs, [2^bits]. */
  codes: readonly number[];
}

export interface TensorError {
  name: string;
  values: number;
  /** Signal-to-quantization-noise ratio, 10 log10(sum x^2 / sum (x - y)^2), dB; Infinity without any error. */
  sqnr: number;
  /** Cosine of the angle between the tensors as vectors; 1 when both are zero. */
  cosine: number;
  maxError: number;
  /** Mean squared error. */
  mse: number;
  /** Integer grids only: mse = rounding + clipping, values clipped, codes that never occur. */
  rounding?: number;
  clipping?: number;
  clipped?: number;
  unusedCodes?: number;
}

/** Values in one call of the kernel: both sides stay in cache. A constant, because it fixes the order of the sums. */
const pieceValues = 1 << 14;

/** Where a tile lies in its tensor. */
export interface TileRows {
  from: number;
  rows: number;
  cols: number;
}

/**
 * Measures one tile, run by run: `fill` puts rows [first, first + n) of the tile, original and dequantized, at the two places of
 * the kernels' memory, f32[n, cols] each.
 */
export function measureTile(
  kernels: Kernels,
  { from, rows, cols }: TileRows,
  fill: (first: number, n: number, x: number, y: number) => void,
): TileErrors {
  const mark = kernels.mark();
  const step = Math.max(1, Math.floor(pieceValues / Math.max(1, cols)));
  const [x, y, sums] = [kernels.alloc(step * cols * 4), kernels.alloc(step * cols * 4), kernels.alloc(5 * 8)];
  kernels.f64(sums, 5).fill(0);
  for (let first = 0; first < rows; first += step) {
    const n = Math.min(step, rows - first);
    fill(first, n, x, y);
    kernels.call('compare', x, y, n * cols, sums);
  }
  const [original, quantized, squaredError, product, maxError] = kernels.f64(sums, 5) as unknown as FiveSums;
  kernels.reset(mark);
  return { from, rows, values: rows * cols, original, quantized, squaredError, product, maxError };
}

/** In the order of the kernel `compare`. */
type FiveSums = [original: number, quantized: number, squaredError: number, product: number, maxError: number];

/**
 * Adds the tiles of one tensor, given in any order.
 * @throws NumericError when the tiles do not cover rows [0, rows) once, or a value is NaN or Inf
 */
export function tensorError(name: string, rows: number, tiles: readonly TileErrors[]): TensorError {
  const ordered = [...tiles].sort((a, b) => a.from - b.from);
  let next = 0;
  for (const { from, rows: n } of ordered) {
    if (from !== next) throw new NumericError({ what: 'tiles do not follow each other', where: name, value: from, limit: next });
    next += n;
  }
  if (next !== rows) throw new NumericError({ what: 'tiles do not cover the tensor', where: name, value: next, limit: rows });

  const sum = (of: (tile: TileErrors) => number): number => ordered.reduce((total, tile) => total + of(tile), 0);
  const values = sum((t) => t.values);
  const original = sum((t) => t.original);
  const quantized = sum((t) => t.quantized);
  const squaredError = sum((t) => t.squaredError);
  if (!Number.isFinite(original)) throw new NumericError({ what: 'the original holds NaN or Inf', where: name });
  if (!Number.isFinite(quantized)) throw new NumericError({ what: 'the quantized tensor holds NaN or Inf', where: name });
  return {
    name,
    values,
    sqnr: squaredError === 0 ? Infinity : 10 * Math.log10(original / squaredError),
    cosine: cosine(
      original,
      quantized,
      sum((t) => t.product),
    ),
    maxError: ordered.reduce((most, t) => Math.max(most, t.maxError), 0),
    mse: values === 0 ? 0 : squaredError / values,
    ...gridReport(ordered, values),
  };
}

function cosine(xx: number, yy: number, xy: number): number {
  if (xx === 0 || yy === 0) return xx === yy ? 1 : 0;
  // Rounding can carry the quotient past one.
  return Math.min(1, xy / (Math.sqrt(xx) * Math.sqrt(yy)));
}

function gridReport(tiles: readonly TileErrors[], values: number): Partial<TensorError> {
  const grids = tiles.flatMap(({ grid }) => grid ?? []);
  if (grids.length === 0 || grids.length < tiles.length) return {};
  const sum = (of: (grid: GridErrors) => number): number => grids.reduce((total, grid) => total + of(grid), 0);
  const codes = grids[0]!.codes;
  return {
    rounding: sum((g) => g.rounding) / (values || 1),
    clipping: sum((g) => g.clipping) / (values || 1),
    clipped: sum((g) => g.clipped),
    unusedCodes: codes.filter((_, code) => grids.every((grid) => grid.codes[code] === 0)).length,
  };
}

/** The `count` tensors with the lowest SQNR, worst first; equals in the order given. */
export function worstTensors<T extends Pick<TensorError, 'sqnr'>>(errors: readonly T[], count = 10): T[] {
  return [...errors].sort((a, b) => (a.sqnr === b.sqnr ? 0 : a.sqnr - b.sqnr)).slice(0, count);
}
