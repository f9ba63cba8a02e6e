import type { FetchedRows } from '../format/read-rows.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { gridTable } from '../quantize/dequantize.ts';
import { errorOf } from '../quantize/error.ts';
import type { QuantizedTile } from '../quantized/types.ts';
import { runRows } from './encode-storage.ts';
import type { TileTask } from './tile.ts';

/** Sums over a tile in f64, x the source and y the output. Tiles are cut by the plan and summed in row order: threads do not matter. */
export interface TileStats {
  count: number;
  /** Sum of x², y², x·y, (x − y)². */
  xx: number;
  yy: number;
  xy: number;
  dd: number;
  /** Largest |x − y|. */
  max: number;
  /** Integer grids: where the squared error comes from. */
  grid?: GridStats;
}

export interface GridStats {
  /** Sum of (x − y)² over values inside the range of their codes, and outside of it. */
  rounding: number;
  clipping: number;
  /** Values outside. */
  clipped: number;
  /** How often each code occurs, [2^bits]. */
  codes: number[];
}

export const noStats: TileStats = { count: 0, xx: 0, yy: 0, xy: 0, dd: 0, max: 0 };

export function addStats(a: TileStats, b: TileStats): TileStats {
  const grid = a.grid && b.grid ? addGrid(a.grid, b.grid) : (a.grid ?? b.grid);
  return {
    count: a.count + b.count,
    xx: a.xx + b.xx,
    yy: a.yy + b.yy,
    xy: a.xy + b.xy,
    dd: a.dd + b.dd,
    max: Math.max(a.max, b.max),
    ...(grid && { grid }),
  };
}

function addGrid(a: GridStats, b: GridStats): GridStats {
  return {
    rounding: a.rounding + b.rounding,
    clipping: a.clipping + b.clipping,
    clipped: a.clipped + b.clipped,
    codes: a.codes.map((count, code) => count + b.codes[code]!),
  };
}

export interface TensorError {
  /** 10 log10(Σx² / Σ(x − y)²), in dB; null when nothing is lost or everything is zero. */
  sqnr: number | null;
  cosine: number;
  maxError: number;
  /** Σ(x − y)² / n. */
  mse: number;
  /** Integer grids: the two parts of mse, how many values are clipped, and how many codes no value has. */
  roundingMse?: number;
  clippingMse?: number;
  clipped?: number;
  unusedCodes?: number;
}

export function errorOfStats(s: TileStats): TensorError {
  return {
    sqnr: s.dd > 0 && s.xx > 0 ? 10 * Math.log10(s.xx / s.dd) : null,
    cosine: s.xx > 0 && s.yy > 0 ? s.xy / Math.sqrt(s.xx * s.yy) : s.xx === s.yy ? 1 : 0,
    maxError: s.max,
    mse: s.count > 0 ? s.dd / s.count : 0,
    ...(s.grid && {
      roundingMse: s.grid.rounding / s.count,
      clippingMse: s.grid.clipping / s.count,
      clipped: s.grid.clipped,
      unusedCodes: s.grid.codes.filter((count) => count === 0).length,
    }),
  };
}

/** Decodes both sides run by run and sums. The kernel gives f64[5]: xx, yy, xy, dd, max. */
export function compareRows(task: TileTask, kernels: Kernels, source: FetchedRows, output: FetchedRows): TileStats {
  if (!source.decodable) return { ...noStats };
  const { cols } = task.from;
  const grid = output.tile && gridStats(kernels, source, output.tile, cols);
  const step = runRows(cols);
  const x = kernels.alloc(step * cols * 4);
  const y = kernels.alloc(step * cols * 4);
  const sums = kernels.alloc(5 * 8);
  kernels.f64(sums, 5).fill(0);
  for (let first = 0; first < source.count; first += step) {
    const n = Math.min(step, source.count - first);
    source.decode(first, n, x);
    output.decode(first, n, y);
    kernels.call('compare', x, y, n * cols, sums);
  }
  const [xx, yy, dd, xy, max] = kernels.f64(sums, 5) as unknown as [number, number, number, number, number];
  return { count: source.count * cols, xx, yy, xy, dd, max, ...(grid && { grid }) };
}

function gridStats(kernels: Kernels, source: FetchedRows, tile: QuantizedTile, cols: number): GridStats {
  const at = kernels.alloc(source.count * cols * 4);
  source.decode(0, source.count, at);
  const { roundingError, clippingError, clipped } = errorOf(kernels.f32(at, source.count * cols), tile);
  const codes = new Array<number>(gridTable(tile.grid)!.length).fill(0);
  for (const code of tile.codes) codes[code]!++;
  return { rounding: roundingError, clipping: clippingError, clipped, codes };
}
