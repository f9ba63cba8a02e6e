import { NumericError, RecipeError } from '../../errors.ts';
import type { GptqRounding } from '../scheme.ts';
import { TILE, TILE_SIZE, tileOffset, tilesOf } from './factor.ts';

/** H as it is factorized: dead inputs repaired, in processing order. */
export interface OrderedHessian {
  hessian: Float32Array;
  cols: number;
  order: Int32Array;
  dead: Uint8Array;
  /** diag(H) after the repair, [cols], in the columns' own order. */
  diagonal: Float64Array;
}

/** In which order columns are rounded; group: columns of a group, for the order by groups (1: every column is one). */
export interface ColumnOrder {
  order: GptqRounding['order'];
  group?: number;
}

/**
 * @param hessian [cols, cols]
 * @throws NumericError for NaN or Inf, RecipeError when it is not square or groups do not divide it; both name the linear
 */
export function orderHessian(hessian: Float32Array, columnOrder: ColumnOrder, name: string): OrderedHessian {
  const cols = Math.round(Math.sqrt(hessian.length));
  if (cols * cols !== hessian.length || cols === 0) {
    throw new RecipeError({ what: 'a Hessian is square', where: name, value: hessian.length });
  }
  checkHessian(hessian, cols, name);
  const diagonal = Float64Array.from({ length: cols }, (_, i) => hessian[i * cols + i]!);
  const dead = Uint8Array.from(diagonal, (h) => (h === 0 ? 1 : 0));
  for (let i = 0; i < cols; i++) if (dead[i]) diagonal[i] = 1;
  return { hessian, cols, dead, diagonal, order: orderOf(diagonal, columnOrder, name) };
}

/** Sorting is stable: of equal diagonals the lower index comes first. */
function orderOf(diagonal: Float64Array, { order, group = 1 }: ColumnOrder, name: string): Int32Array {
  const cols = diagonal.length;
  const natural = Int32Array.from({ length: cols }, (_, i) => i);
  if (order === 'natural') return natural;
  const descending = natural.slice().sort((a, b) => diagonal[b]! - diagonal[a]!);
  if (order === 'activation' || group === 1) return descending;
  if (cols % group !== 0)
    throw new RecipeError({ what: 'groups do not divide the columns', where: name, value: group, limit: cols });
  const sums = new Float64Array(cols / group);
  for (const [i, h] of diagonal.entries()) sums[Math.floor(i / group)]! += h;
  const ranks = new Int32Array(sums.length);
  for (const [rank, g] of Int32Array.from(sums.keys())
    .sort((a, b) => sums[b]! - sums[a]!)
    .entries())
    ranks[g] = rank;
  return descending.sort((a, b) => ranks[Math.floor(a / group)]! - ranks[Math.floor(b / group)]!);
}

function checkHessian(hessian: Float32Array, cols: number, name: string): void {
  for (let i = 0; i < hessian.length; i++) {
    if (hessian[i]! - hessian[i]! === 0) continue;
    throw new NumericError({
      what: `the Hessian of the inputs holds NaN or infinity at [${Math.floor(i / cols)}, ${i % cols}]`,
      where: name,
      value: `${hessian[i]}`,
      next: 'the calibration run overflowed: calibrate in f32, or keep this tensor as it is',
    });
  }
}

/** The upper tiles of a symmetric matrix; shared with workers where the platform allows it. */
export class UpperTiles {
  /** Tiles (i, j >= i), row after row. While it is factorized each is [16][128 columns][8 rows]. */
  readonly values: Float32Array;
  /** Tiles beside each other. */
  readonly count: number;

  constructor(cols: number) {
    this.count = tilesOf(cols);
    const bytes = 4 * tileOffset(this.count, this.count, this.count);
    this.values = new Float32Array(
      typeof SharedArrayBuffer === 'function' ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes),
    );
  }

  get isShared(): boolean {
    return !(this.values.buffer instanceof ArrayBuffer);
  }

  /** The tiles (i, j..count - 1). */
  row(i: number, j: number): Float32Array {
    return this.values.subarray(tileOffset(this.count, i, j), tileOffset(this.count, i, this.count));
  }

  /** Becomes H + damp mean(diag(H)), in processing order; beyond its columns the identity. */
  fill({ hessian, cols, order, diagonal }: OrderedHessian, damp: number): void {
    const added = (damp * diagonal.reduce((sum, h) => sum + h, 0)) / cols;
    this.values.fill(0);
    for (let row = 0; row < this.count * TILE; row++) {
      const tiles = this.row(row >> 7, row >> 7);
      const inTile = ((row & 127) >> 3) * TILE * 8 + (row & 7);
      if (row >= cols) {
        tiles[inTile + (row & 127) * 8] = 1;
        continue;
      }
      const source = order[row]! * cols;
      const first = row & ~127;
      for (let column = first; column < cols; column++) {
        const at = ((column - first) >> 7) * TILE_SIZE + inTile + (column & 127) * 8;
        tiles[at] = hessian[source + order[column]!]!;
      }
      tiles[inTile + (row & 127) * 8] = diagonal[order[row]!]! + added;
    }
  }
}
