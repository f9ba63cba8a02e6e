/** Codes back to values: x̂ = s (c - z), or s c + m. Dequantization does not undo quantization; it shows what is left. */
import { RecipeError } from '../errors.ts';
import { type FloatName, floatTypes } from '../numeric/float.ts';
import { minifloat, minifloatValues } from '../numeric/minifloat.ts';
import type { Grid, Levels, QuantizedTile } from '../quantized/types.ts';
import { sharedCount, spreadRow, type TileRows } from './granularity.ts';
import { integerGrid } from './grid/integer.ts';
import { addKeptApart } from './split.ts';

/**
 * The values of a tile, [to - from, cols]. Each operation is rounded to the tile's compute dtype (f32 by default), as the
 * readers of its container do. Encoded blocks (opaque grids) belong to the kernels: RecipeError.
 */
export function dequantizeTile(tile: QuantizedTile): Float32Array {
  const { grid, from, to, scale, zero } = tile;
  const cols = tile.shape[1];
  if (grid.kind === 'opaque' || !scale) {
    throw new RecipeError({ what: 'encoded blocks are decoded by their kernel, not from codes', where: tile.name });
  }
  const compute = tile.arithmetic?.compute ?? 'f32';
  const rows: TileRows = { from, to, cols };
  const out = new Float32Array((to - from) * cols);
  const lookUp = gridValues(tile);
  const scales = new Float32Array(cols);
  const zeros = new Float32Array(cols);
  for (let row = from; row < to; row++) {
    const line = out.subarray((row - from) * cols, (row - from + 1) * cols);
    lookUp(row, line);
    spread(scale, rows, row, scales);
    if (zero) spread(zero.levels, rows, row, zeros);
    applyLevels(line, scales, zero ? zeros : undefined, zero?.kind === 'minimum', compute);
    if (tile.columnScale) for (let c = 0; c < cols; c++) line[c]! *= tile.columnScale[c]!;
  }
  addKeptApart(tile, out);
  return out;
}

function spread(levels: Levels, rows: TileRows, row: number, out: Float32Array): void {
  spreadRow(levels.values, levels.per, rows, row, out);
}

/** line [cols] holds grid values and becomes x̂; storing into f32 cells rounds to f32. */
function applyLevels(
  line: Float32Array,
  s: Float32Array,
  z: Float32Array | undefined,
  isMinimum: boolean,
  compute: FloatName,
): void {
  const { roundRun } = floatTypes[compute];
  const cols = line.length;
  if (z && !isMinimum) {
    for (let c = 0; c < cols; c++) line[c]! -= z[c]!;
    roundRun(line, 0, cols);
  }
  for (let c = 0; c < cols; c++) line[c]! *= s[c]!;
  roundRun(line, 0, cols);
  if (z && isMinimum) {
    for (let c = 0; c < cols; c++) line[c]! += z[c]!;
    roundRun(line, 0, cols);
  }
}

/** The values that codes stand for, [2^bits]; undefined for grids that have no single list. */
export function gridTable(grid: Grid): Float32Array | undefined {
  if (grid.kind === 'integer') {
    const { qMin } = integerGrid(grid.bits, grid.signed);
    return Float32Array.from({ length: 2 ** grid.bits }, (_, code) => code + qMin);
  }
  if (grid.kind === 'minifloat') return minifloatValues(minifloat(grid.format));
  if (grid.kind === 'codebook' && grid.dim === 1 && 'rows' in grid.per && grid.per.rows === 0 && grid.per.cols === 0)
    return grid.values;
  return undefined;
}

/** out [cols] = the grid values of row `row`. */
type LookUp = (row: number, out: Float32Array) => void;

function gridValues({ grid, codes, shape, from, to }: QuantizedTile): LookUp {
  const cols = shape[1];
  const table = gridTable(grid);
  if (table) {
    return (row, out) => {
      const at = (row - from) * cols;
      for (let c = 0; c < cols; c++) out[c] = table[codes[at + c]!]!;
    };
  }
  if (grid.kind !== 'codebook') throw new RecipeError({ what: 'a grid without values', value: grid.kind });
  // Several books, or vectors: cell c is component c mod dim of the entry that its code names in its book.
  const { values, dim, per } = grid;
  const rows = { from, to, cols };
  const books = sharedCount(per, rows);
  const size = values.length / dim / books;
  const numbers = Float32Array.from({ length: books }, (_, book) => book);
  const book = new Float32Array(cols);
  return (row, out) => {
    const at = ((row - from) * cols) / dim;
    spreadRow(numbers, per, rows, row, book);
    for (let c = 0; c < cols; c++) {
      const entry = book[c]! * size + codes[at + Math.floor(c / dim)]!;
      out[c] = values[entry * dim + (c % dim)]!;
    }
  };
}
