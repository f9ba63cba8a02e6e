/**
 * Integer tiles that lose less for the inputs the layer gets: scales refitted to codes and codes descending, in turn. The grid, its
 * groups and its zero points stay.
 */
import { floatTypes } from '../../numeric/float.ts';
import type { QuantizedTile } from '../../quantized/types.ts';
import { gridTable } from '../dequantize.ts';
import { descend } from './descent.ts';
import type { LeveledRows } from './leveled-rows.ts';
import type { RefineMath } from './refine-math.ts';
import { levelSystems } from './refit.ts';
import { refitRow, type StoredLevels } from './stored-levels.ts';

/** Sweeps over the columns in one round. */
const SWEEPS = 2;

/**
 * Changes codes and scales of a tile in place. Tiles whose groups are not runs of columns (activation order with a g_idx) stay as
 * they are; scales are refitted where no zero point hangs on them.
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
  const stored = tile.scale!.stored;
  const refits = isCentred(tile) && typeof stored === 'string' && stored in floatTypes;
  const round = floatTypes[refits ? (stored as keyof typeof floatTypes) : 'f32'].round;
  const fed = refits ? math.product(target, hessian, rows.cols) : undefined;
  for (let i = 0; i < rounds; i++) {
    if (fed) refitScales(fed, rows, hessian, math, round);
    if (descend(target, rows, hessian, { sweeps: SWEEPS, math }) === 0 && !fed) break;
  }
}

function refitScales(
  fed: Float32Array,
  rows: LeveledRows,
  hessian: Float32Array,
  math: RefineMath,
  round: (x: number) => number,
): void {
  const groups = rows.cols / rows.group;
  const stored = (units: Float32Array): StoredLevels => ({ units, values: units.slice(), lowest: 1, highest: 1, round });
  let row = 0;
  for (const system of levelSystems(fed, rows, hessian, math)) {
    const scales = rows.scales.subarray(row * groups, (row + 1) * groups);
    const [best] = refitRow(system, [stored(scales.slice())], (wished) => [stored(Float32Array.from(wished, round))]);
    // A scale keeps its sign: readers of integer grids expect it.
    best!.units.forEach((unit, g) => {
      if (unit * scales[g]! > 0 && Number.isFinite(unit)) scales[g] = unit;
    });
    row++;
  }
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
