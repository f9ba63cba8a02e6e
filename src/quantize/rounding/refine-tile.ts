/**
 * Tiles that lose less for the inputs the layer gets: scales refitted to codes and codes descending, in turn. The grid, its groups and
 * its zero points stay.
 */
import type { Levels, QuantizedTile } from '../../quantized/types.ts';
import type { IntegerScheme } from '../scheme.ts';
import { type CodeLists, codeLists, codesAt, placesOf } from './code-lists.ts';
import type { KeptCells } from './feedback.ts';
import type { LeveledRows } from './leveled-rows.ts';
import type { RefineMath } from './refine-math.ts';
import { refineRows } from './refine-rows.ts';
import { placesIn, type SingleScales } from './single-scales.ts';
import type { LevelRange, LevelStorage } from './stored-levels.ts';

/** Sweeps over the columns in one round. */
const SWEEPS = 2;

/** Whether refinement changes tiles of this scheme: its scales belong to rows, or to runs of their columns as they are stored. */
export function refines({ granularity, rounding }: Pick<IntegerScheme, 'granularity' | 'rounding'>): boolean {
  if (granularity === 'tensor') return false;
  return granularity === 'channel' || rounding?.groups !== 'dynamic' || rounding.order !== 'activation';
}

export interface RefineTileOptions {
  rounds: number;
  math: RefineMath;
  /** Cells without a code, and what they hold, [to - from, cols]. */
  kept?: KeptCells & { values: Float32Array };
}

/**
 * Changes codes and scales of a tile and the values of kept cells in place; zero points stay. Tiles that `refines` tells apart stay as
 * they are.
 * @param target [to - from, cols]
 * @param hessian [cols, cols]
 */
export function refineTile(
  target: Float32Array,
  tile: QuantizedTile,
  hessian: Float32Array,
  { rounds, math, kept }: RefineTileOptions,
): void {
  const lists = codeLists(tile);
  const rows = lists && rowsOf(tile, lists);
  if (!rows || rounds === 0) return;
  if (kept) rows.kept = { mask: kept.mask, values: kept.values };
  const storage = storageOf(tile);
  const options = { sweeps: SWEEPS, math, ...(kept && { stored: kept.stored }) };
  if (storage || kept) refineRows(target, rows, storage, hessian, { ...options, rounds });
  // With nothing to do in between rounds are more sweeps.
  else refineRows(target, rows, undefined, hessian, { ...options, rounds: 0, sweeps: SWEEPS * rounds });
  tile.codes.set(codesAt(rows.codes, lists, rows.cols));
  const { codes } = tile.scale!;
  if (!codes || !storage || !('codeOf' in storage)) return;
  const places = placesIn(storage, tile.scale!.values, rows.cols / rows.group);
  for (const [i, place] of places.entries()) if (place >= 0) codes[i] = storage.codeOf(place);
}

type Listed = Extract<SingleScales, { list: Float32Array }> & { codeOf(place: number): number };

/**
 * How scales are stored that can be refitted: all of a row together, or one at a time where zero points hang on them or they are
 * values of a list; undefined where rows share one.
 */
function storageOf(tile: QuantizedTile): LevelStorage | Listed | SingleScales | undefined {
  const scale = tile.scale!;
  if (!('rows' in scale.per) || scale.per.rows !== 1) return undefined;
  const { stored, values, codes, parent } = scale;
  const together = isCentred(tile);
  const range = { highestMinimum: 0, keepsSigns: true };
  if (isFloat(stored)) {
    return together ? { ...range, unit: stored, lowest: 1, highest: 1, sets: [{ units: values, values }] } : { unit: stored };
  }
  const bits = typeof stored === 'object' ? stored.bits : 0;
  const ofRow = parent && 'rows' in parent.per && parent.per.rows === 1;
  // The kernel that fits codes and their unit together stores units as f16.
  if (together && bits && codes && ofRow && parent.stored === 'f16') {
    return { ...range, unit: 'f16', lowest: 1, highest: 2 ** bits - 1, sets: [{ units: parent.values, codes, values }] };
  }
  return listed(scale, bits);
}

function isFloat(stored: Levels['stored']): stored is LevelRange['unit'] {
  return stored === 'f32' || stored === 'f16' || stored === 'bf16';
}

/** Powers of two by their exponents, 8-bit floats and integers by what their parent makes of them. */
function listed({ stored, map, parent }: Levels, bits: number): Listed {
  if (stored === 'e8m0') {
    const list = Float32Array.from({ length: 255 }, (_, place) => 2 ** (place - 127));
    return { list, count: list.length, codeOf: (place) => place };
  }
  const own = map
    ? Array.from(map, (value, code) => ({ value, code })).filter(({ value }) => value > 0 && Number.isFinite(value))
    : Array.from({ length: 2 ** bits - 1 }, (_, i) => ({ value: i + 1, code: i + 1 }));
  own.sort((a, b) => a.value - b.value);
  const parents = parent!.values;
  const list = new Float32Array(parents.length * own.length);
  for (const [p, unit] of parents.entries()) for (const [i, { value }] of own.entries()) list[p * own.length + i] = value * unit;
  return { list, count: own.length, codeOf: (place) => own[place]!.code };
}

/** Whether every zero point is the middle of the grid, so that x = s times a value that no level changes. */
function isCentred({ zero, grid }: QuantizedTile): boolean {
  if (!zero) return true;
  if (grid.kind !== 'integer' || grid.signed || zero.kind !== 'integer') return false;
  return zero.levels.values.every((z) => z === 2 ** (grid.bits - 1));
}

/** A view of the tile: scales are its own, codes are places in the lists. */
function rowsOf(tile: QuantizedTile, lists: CodeLists): LeveledRows | undefined {
  const { scale, zero, grid, codes, from, to, shape } = tile;
  if (!scale || !('rows' in scale.per) || !(codes instanceof Uint8Array)) return undefined;
  const shared = scale.per.rows === 0;
  if (scale.per.rows > 1 || (shared && (grid.kind === 'integer' || zero))) return undefined;
  const cols = shape[1];
  const centred = isCentred(tile) && zero !== undefined;
  const middle = centred && grid.kind === 'integer' ? 2 ** (grid.bits - 1) : 0;
  return {
    rows: to - from,
    cols,
    group: scale.per.cols || cols,
    codes: placesOf(codes, lists, cols),
    values: lists.values.map((value) => value - middle),
    ...(lists.count > 1 && { entries: lists.size }),
    scales: shared ? new Float32Array(to - from).fill(scale.values[0]!) : scale.values,
    ...(zero && !centred && { mins: minima(tile) }),
    ...(zero && !centred && zero.kind !== 'minimum' && { zeros: zero.levels.values }),
  };
}

/** What is added to scale times value, whatever kind of zero there is. */
function minima({ scale, zero }: QuantizedTile): Float32Array {
  const { values } = zero!.levels;
  return zero!.kind === 'minimum' ? values : values.map((z, i) => -z * scale!.values[i]!);
}
