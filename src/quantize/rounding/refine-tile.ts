/**
 * Integer tiles that lose less for the inputs the layer gets: scales refitted to codes and codes descending, in turn. The grid, its
 * groups and its zero points stay.
 */
import type { QuantizedTile } from '../../quantized/types.ts';
import { gridTable } from '../dequantize.ts';
import type { IntegerScheme } from '../scheme.ts';
import { descend } from './descent.ts';
import type { LeveledRows } from './leveled-rows.ts';
import type { RefineMath } from './refine-math.ts';
import { refineRows } from './refine-rows.ts';
import type { LevelRange } from './stored-levels.ts';

/** Sweeps over the columns in one round. */
const SWEEPS = 2;

/** Whether refinement changes tiles of this scheme: its scales belong to rows, or to runs of their columns as they are stored. */
export function refines({ granularity, rounding }: Pick<IntegerScheme, 'granularity' | 'rounding'>): boolean {
  if (granularity === 'tensor') return false;
  return granularity === 'channel' || rounding?.groups !== 'dynamic' || rounding.order !== 'activation';
}

/**
 * Changes codes and scales of a tile in place. Tiles that `refines` tells apart stay as they are; scales are refitted where no zero point hangs on them.
 * @param target [to - from, cols]
 * @param hessian [cols, cols]
 */
export function refineTile(
  target: Float32Array,
  tile: QuantizedTile,
  hessian: Float32Array,
  { rounds, math }: { rounds: number; math: RefineMath },
): void {
  const rows = rowsOf(tile);
  if (!rows || rounds === 0) return;
  const unit = unitOf(tile);
  if (!unit) {
    descend(target, rows, hessian, { sweeps: SWEEPS * rounds, math });
    return;
  }
  const sets = [{ units: rows.scales, values: rows.scales }];
  const range = { unit, lowest: 1, highest: 1, highestMinimum: 0, keepsSigns: true };
  refineRows(target, rows, { ...range, sets }, hessian, { rounds, sweeps: SWEEPS, math });
}

/** What scales are rounded to; undefined where they are not refitted. */
function unitOf(tile: QuantizedTile): LevelRange['unit'] | undefined {
  const { stored } = tile.scale!;
  return isCentred(tile) && (stored === 'f32' || stored === 'f16' || stored === 'bf16') ? stored : undefined;
}

/** Whether every zero point is the middle of the grid, so that x = s times a value that no level changes. */
function isCentred({ zero, grid }: QuantizedTile): boolean {
  if (!zero) return true;
  if (grid.kind !== 'integer' || grid.signed || zero.kind !== 'integer') return false;
  return zero.levels.values.every((z) => z === 2 ** (grid.bits - 1));
}

/** A view of the tile: scales and codes are its own. */
function rowsOf(tile: QuantizedTile): LeveledRows | undefined {
  const { scale, zero, grid, codes, from, to, shape } = tile;
  if (grid.kind !== 'integer' || !scale || !('rows' in scale.per) || scale.per.rows !== 1 || !(codes instanceof Uint8Array))
    return undefined;
  const cols = shape[1];
  const table = gridTable(grid)!;
  const centred = isCentred(tile) && zero !== undefined;
  const middle = centred ? 2 ** (grid.bits - 1) : 0;
  return {
    rows: to - from,
    cols,
    group: scale.per.cols || cols,
    codes,
    values: table.map((value) => value - middle),
    scales: scale.values,
    ...(zero && !centred && { mins: minima(tile) }),
  };
}

/** What is added to scale times value, whatever kind of zero there is. */
function minima({ scale, zero }: QuantizedTile): Float32Array {
  const { values } = zero!.levels;
  return zero!.kind === 'minimum' ? values : values.map((z, i) => -z * scale!.values[i]!);
}
